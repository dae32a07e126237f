"""The plots: each takes a Story and tells it from beginning to end."""
from story import listed, number
from words import ANIMALS, BOYS, GIRLS, RIDDLES, Thing, article, plural

HAPPY = ["Everyone was happy.", "It was a good day.", "They laughed all the way home.", "And so the day ended well."]


def lost_thing(s):
    a, b, x = s.child(), s.child(), s.thing()
    p, q, r = s.pick("hide", 3)
    s.open()
    s.know(a=a, b=b, x=x, p=p, q=q, r=r)
    s.say("{a} could not find {a.his} {x.look} {x}.", "{a} had lost {a.his} {x.look} {x}.",
          "When {a} woke up, {a.his} {x.look} {x} was gone.")
    s.say('"Where is my {x}?" asked {a}.', '"I had it yesterday," said {a}. "Now it is gone."',
          "{a} began to cry, because the {x} was a gift.")
    s.say("{a} looked {p}, but it was not there.", "First {a} looked {p}. There was only dust.",
          "{a.He} searched {p} and found nothing.")
    s.say('{b} came to help. "Did you look {q}?" asked {b}.', "{a.His} friend {b} said, \"I will help you.\"",
          '"Let us think," said {b}. "Where did you play last?"')
    s.say("Together they looked {q}, but they found only an old shoe.", "They looked {q}. A mouse ran away.",
          "They looked {q} and saw nothing but leaves.")
    s.say("At last {b} looked {r}. There was the {x}!", "Then {a} remembered. {a.He} ran and looked {r}, and there it was!",
          "Just before dark, {b} found the {x} {r}.")
    s.say('"Thank you, {b}!" said {a}. "You are a true friend."', "{a} hugged {b} and held the {x} tight.",
          'Now {a} always puts the {x} in the same place.', '"I will take better care of it," said {a}.')


def storm(s):
    a, b, pet = s.child(), s.elder(), s.animal(kinds=["hen", "goat", "lamb", "pony", "duck", "rabbit"])
    s.know(a=a, b=b, c=pet, place=s.pick("place"))
    s.say("Dark clouds came over the hill.", "The wind began to blow, and the sky turned black.",
          "All morning the air was heavy and still.")
    s.say('"A storm is coming," said {b}. "We must hurry."', '{b} looked up and said, "It will rain soon."',
          '"Do you hear the thunder?" asked {b}.')
    s.say("{a} ran to close the windows, because the rain would come in.",
          "{a} took the washing from the line, so that it would stay dry.",
          "{a} carried wood into the house, because wet wood does not burn.")
    s.say("But where was {c}, the {c.look} {c.kind}?", "Then {a} saw that {c} the {c.kind} was missing.",
          '"We forgot {c}!" cried {a}. {c} was {a.his} {c.kind}.')
    s.say("{a} heard a soft {c.sound} from the {place}.", "From far away came a sad {c.sound}.",
          '"{c}! {c}!" called {a}. A small {c.sound} answered.')
    s.say("{c} was wet and afraid, so {a} wrapped {c.him} in a coat.",
          "{a} took {c} in {a.his} arms and ran through the rain.",
          "The door was stuck, so {a} and {b} pushed together until it opened.")
    s.say("Soon they all sat by the fire while the rain beat on the roof.",
          "The thunder was loud, but inside it was warm and dry.",
          "{b} made tea, and {c} ate {c.food}.")
    s.say("In the morning the sun was back, and every leaf was shining.",
          "After the storm a rainbow stood over the village.",
          "When the storm was over, {c} fell asleep {c.bed}.")


def planting(s):
    a, b, plant = s.child(), s.elder(), s.pick("plant")
    n = s.number(3, 9)
    s.know(a=a, b=b, plant=plant, an=article(plant), n=number(n), less=number(n - 1))
    s.open("spring")
    s.say("{b} gave {a} {n} {plant} seeds.", "{a} had {n} {plant} seeds in a paper bag.",
          '"Here are {n} {plant} seeds," said {b} to {a}.')
    s.say("{a} made {n} holes in the soil and put one seed in each.",
          "They dug the bed, and {a} pushed every seed into the ground with one finger.",
          "{a} planted them in a row beside the wall.")
    s.say("Every day {a.he} gave them water.", "{a} watered the bed each evening, when the sun was low.",
          '"Water them, but not too much," said {b}.')
    s.say("For a week nothing happened, and {a} was sad.", "Nothing came up. {a} wanted to dig and look.",
          '"Are they dead?" asked {a}. "No," said {b}. "They are working under the ground."')
    s.say('"Wait," said {b}. "A seed has its own clock."', '"Be patient," said {b}. "Roots come first."',
          "{b} told {a} to wait a little longer.")
    s.say("Then one morning {a} saw a green tip. Soon there were {less} more.",
          "After the rain {n} green leaves stood in the row.",
          "On the tenth day the first leaf came out, and {a} danced.")
    s.maybe(0.6, "A snail wanted to eat the leaves, so {a} carried it to the hedge.",
            "The birds came too, so {a} put up a man made of straw.",
            "{a} pulled out the weeds, so that the plants had light.")
    s.say("By the end of summer the plants were taller than {a}.", "At last {a} had {an} of {a.his} own.",
          "{a} gave the best one to {b}.", "{a} kept {n} seeds in a paper bag for the next year.")


def espalier(s):
    a, b, fruit = s.child(), s.elder(), s.pick(["apple", "pear", "plum", "peach", "fig"])
    s.know(a=a, b=b, fruit=fruit, fruits=plural(fruit), an=article(fruit), wall=s.pick(["the south wall", "the garden wall",
           "a wooden frame", "the old fence", "the side of the barn"]), years=number(s.number(2, 6)))
    s.say("{b} had {an} tree that grew flat against {wall}.", "Against {wall} stood {an} tree with arms like a ladder.",
          "In {b}'s garden {an} tree grew along {wall}.")
    s.say('"Why is this tree so flat?" asked {a}.', '"It looks like a candle stand," said {a}.',
          '{a} asked, "Who taught the tree to grow like that?"')
    s.say('"It is an espalier," said {b}. "We train its branches along the wires."',
          '"I bent the young branches while they were soft," said {b}.',
          '"A frame does not move, but the branches learn to follow it," said {b}.')
    s.say('"Does it hurt the tree?" asked {a}. "Not if you are gentle," said {b}.',
          '"Can I help?" asked {a}. {b} gave {a.him} a piece of soft string.',
          '"An old branch will break," said {b}, "but a young branch will bend."')
    s.say("{a} tied a young branch to the wire, not too tight.", "Slowly {a} bent a green shoot and tied it down.",
          "{b} held the branch, and {a} made the knot.")
    s.maybe(0.7, "Then {b} cut away the shoots that grew out from the wall.",
            "They cut one shoot above the third bud, so that the tree would make flowers.",
            "The trunk stayed as it was. Only the young wood was trained.")
    s.say("The wall was warm from the sun, so the fruit became sweet early.",
          "Because the wall kept the wind away, the flowers did not freeze.",
          "All the leaves had light, because no branch stood in front of another.")
    s.say("After {years} years the tree was full of {fruits}, and {a} was tall enough to pick them all.", "When autumn came, {a} picked the first {fruit}. It was the best {fruit} of all.",
          'Every spring {a} ties the new branches. "Good tree," says {a.he}.',
          '"You and the tree grew up together," said {b}.')


def market(s):
    a, b = s.child(), s.elder()
    x, y = s.pick("goods", 2)
    n, price = s.number(2, 4), s.number(1, 3)
    cost = n * price
    purse = min(12, cost + s.number(0, 4))
    coins = lambda k: number(k) + (" coin" if k == 1 else " coins")
    s.know(a=a, b=b, x=x, y=y, n=number(n), cost=coins(cost), purse=coins(purse), price=coins(price),
           rest=coins(purse - cost), day=s.pick("day"))
    s.say("On {day} {a} went to the market with a basket.", "{a.His} mother sent {a} to the market on {day}.",
          "It was market day, and {a} walked to the square.")
    s.say("{a.He} had {purse} in {a.his} pocket.", "In {a.his} purse were {purse}.", "{a.He} counted {a.his} money: {purse}.")
    s.say("{b} sold {x} and {y}.", "At the first stall {b} had {x}, {y} and honey.", "{b} stood behind a table full of {x} and {y}.")
    s.say('"How much are the {x}?" asked {a}. "{price_} each," said {b}.'.replace("{price_}", coins(price).capitalize()),
          '"Good morning, {b}. What do the {x} cost?" asked {a}. "They cost {price} each," said {b}.')
    s.say('"I would like {n}, please," said {a}.', '"Then I will take {n}," said {a}.')
    s.say("{n_} {x} cost {cost}. {a} paid and had {rest} left.".replace("{n_}", number(n).capitalize()) if purse > cost
          else "{n_} {x} cost {cost}. Now {a.his} purse was empty.".replace("{n_}", number(n).capitalize()))
    if purse > cost and s.chance(0.6):
        s.say("With the rest {a.he} bought a bun and ate it at once.", "{a.He} put the rest back into {a.his} pocket.",
              "{a.He} gave the rest to a man who played the fiddle.")
    s.say("On the way home the basket was heavy, so {a} changed hands at every tree.",
          "A dog followed {a} all the way, because the basket smelled so good.",
          'A boy ran into {a}, and the {x} rolled over the street. "Sorry!" he said, and he picked up every one.')
    s.say('"Well done," said {a.his} mother.', "At home they counted the {x}. All {n} were there.",
          "That evening there was soup, and everybody had enough.", "{a} was proud, because {a.he} had not forgotten anything.")


def letter(s):
    a, b = s.child(), s.child()
    s.know(a=a, b=b, far=s.pick("faraway"), x=s.thing(), sight=s.pick("sight"), c=s.animal())
    s.say("{a} had a friend named {b} who lived {far}.", "{b} moved to a house {far}, and {a} missed {b.him}.",
          "{a}'s best friend {b} lived {far}.")
    s.say("So {a} sat down and wrote a letter.", "One evening {a} took a pen and wrote to {b}.",
          '"I will write to {b}," said {a}.')
    s.say('"Dear {b}," {a.he} wrote, "today I saw {sight}."', '"Dear {b}, we have a new {c.kind}. Its name is {c}."',
          '"Dear {b}, I have {x.a} now. When you come, you can play with it."')
    s.say('"How are you? Is it cold there?" {a.he} asked at the end.', '"Please write soon. Your friend, {a}."',
          '"I miss you every day. Your {a}."')
    s.say("{a} put a stamp on the letter and took it to the post office.",
          "The letter traveled by cart, by train and by boat.", "The mailman put it in his bag and rode away.")
    s.say("For many days no answer came.", "{a} waited by the gate every morning.", "A week went by, and then another.")
    s.say("Then the mailman rang the bell. There was a letter for {a}!", "On {day} a blue letter lay on the mat.".replace(
          "{day}", s.pick("day")), '"A letter for you!" called the mailman.')
    s.say('"Dear {a}," wrote {b}, "I read your letter three times."', '"Dear {a}, thank you for your letter. I am coming in the summer!"',
          '"Dear {a}, I laughed so much that my mother came to look. Your {b}."')
    s.say("{a} kept the letter in a box under {a.his} bed.", "{a} was so glad that {a.he} wrote back at once.",
          "So they were still friends, even from far away.", "{a} read it again before {a.he} went to sleep.")


def rescue(s):
    a, c = s.child(), s.animal(kinds=["cat", "duck", "hedgehog", "crow", "lamb", "squirrel", "goat", "rabbit"])
    b = s.elder()
    trouble, because, fix = s.pick([
        ("was stuck in the fence", "its leg was caught in the wire", "slowly bent the wire back"),
        ("sat at the top of the tree and could not come down", "a dog had chased it", "put a ladder against the tree"),
        ("had fallen into a deep hole", "the grass had covered the edge", "laid a long board into the hole"),
        ("lay in the road and did not move", "it had hurt its foot", "tied a clean cloth around the foot"),
        ("was caught in an old net", "somebody had left the net by the water", "cut the net with a small knife"),
        ("stood on a stone in the middle of the river", "the water had risen in the night", "threw a rope and pulled a raft across")])
    s.know(a=a, b=b, c=c, trouble=trouble, because=because, fix=fix)
    s.open()
    s.say("On the way to school {a} heard a noise.", "{a} was walking home when {a.he} heard a faint {c.sound}.",
          '"{c.Sound}!" It came from behind the hedge, and {a} stopped.')
    s.say("{c.A} {trouble}, because {because}.", "There was {c.a}. It {trouble}, because {because}.")
    s.say('"Do not be afraid," said {a} softly.', '"Poor thing," said {a}. "I will help you."', "{a} was too small to help alone, so {a.he} ran for help.")
    s.say("{a} called {b}, and {b} came at once.", "Luckily {b} lived nearby.", '"{b}, come quickly!" cried {a}.')
    s.say("{b} {fix}, while {a} held the {c.kind}.", "{b} {fix}. {a} spoke to the {c.kind} all the time.")
    s.say("The {c.kind} was free!", "Soon the {c.kind} was safe in {a}'s arms.", "At last it was over, and the {c.kind} ate {c.food}.")
    s.say('"I will call you {c}," said {a}.', "{a} named the {c.kind} {c}.")
    s.say("From that day on {c} came to the gate every morning.", "{c} stayed, and slept {c.bed}.",
          "The next day {c} was gone, but on the step lay {c.trace}.",
          "When {a} came home from school, {c} was always waiting.")


def quarrel(s):
    a, b, x = s.child(), s.child(), s.thing()
    s.know(a=a, b=b, x=x, elder=s.elder())
    s.say("{a} and {b} both wanted {x.the}.", "There was only one {x}, and both {a} and {b} wanted it.",
          "{a} and {b} were playing with {x.a}.")
    s.say('"It is mine!" said {a}. "No, it is mine!" said {b}.', '"I had it first," said {a}. "But it is my turn," said {b}.')
    s.say("They pulled and pulled, until the {x} broke.", "{a} pulled on one side and {b} on the other. Crack! The {x} was broken.",
          "{b} pushed {a}, {a} fell, and the {x} flew over the wall.")
    s.say("Now nobody had {x.a}.", "Both of them began to cry.", "It was very quiet. {a} looked at {b}, and {b} looked at the ground.")
    s.say('"What happened here?" asked {elder}.', "{elder} heard the noise and came outside.")
    s.say('"It was my fault," said {a}. "I am sorry." "I am sorry too," said {b}.',
          '"{b} is to blame," said {a}. Then {a.he} thought, and said, "No, we both are."')
    s.say("So they took glue and string and mended the {x} together.", "{elder} showed them how to mend it.",
          "They looked for the {x} together and repaired it.")
    s.say("Now {a} has it in the morning and {b} in the afternoon.", "After that they took turns, and it was more fun than before.",
          '"Half a {x} is nothing," said {elder}, "but a shared {x} is two."')


def fable(s):
    c, d = s.animal(), s.animal()
    boast, test, end, moral = s.pick([
        ("I am the fastest of all", "ran so fast that {c.he} did not see the ditch", "{d} walked slowly and came home first",
         "Slow and careful is faster than fast and blind."),
        ("I do not need any help", "tried to move a big stone alone, and it did not move", "{d} brought four friends, and the stone rolled away",
         "Many small backs carry a big load."),
        ("Winter is far away", "slept all summer and gathered nothing", "{d} shared what {d.he} had saved, but only after {c} said please",
         "Who saves in summer eats in winter."),
        ("Nobody is as clever as I am", "fell into the trap that {c.he} had made", "{d} pulled {c.him} out with a rope",
         "The clever need friends too."),
        ("My song is the best in the forest", "sang so loudly that everybody ran away", "{d} hummed softly, and all the birds came to listen",
         "Loud is not the same as good."),
        ("I am too big to be afraid", "saw a shadow on the wall and hid under a leaf", "{d} laughed, because it was only the shadow of a mouse",
         "Even the big are afraid of something.")])
    s.know(c=c, d=d)
    s.know(boast=boast, test=test.format(c=c, d=d), end=end.format(c=c, d=d), moral=moral)
    s.say("There was once {c.a} named {c}, and {c.his} neighbor was {d}, {d.a}.",
          "{c} the {c.kind} and {d} the {d.kind} lived in the same wood.",
          "Long ago, {c.a} called {c} met {d.a} called {d}.")
    s.say('"{boast}," said {c} every day.', '{c} liked to say, "{boast}."', '"{boast}!" cried {c}, so that everyone could hear it.')
    s.say('"We will see," said {d}.', '"Are you sure?" asked {d}.', "{d} only smiled and said nothing.")
    s.say("The next day {c} {test}.", "But soon {c} {test}.", "Then it happened: {c} {test}.")
    s.say("In the end {end}.", "And what did {d} do? {end_}.".replace("{end_}", s.env["end"]))
    s.say('"Now I know better," said {c}.', "{c} was ashamed and said nothing for a whole day.", '"You were right," said {c} to {d}.')
    s.say("{moral}", "That is why the old animals say: {moral_}".replace("{moral_}", moral[0].lower() + moral[1:]))


def afraid(s):
    a, b = s.child(), s.elder()
    fear, seen, truth = s.pick([
        ("the dark", "Something white moved behind the curtain", "It was only the cat"),
        ("thunder", "A loud crash shook the house", "It was only a cloud far away"),
        ("the cellar", "Something was scratching behind the barrels", "It was only a mouse with a nut"),
        ("the forest", "Two eyes were shining between the trees", "It was only an owl"),
        ("deep water", "Something touched {a.his} foot", "It was only a leaf"),
        ("the old mill", "A voice was moaning in the wind", "It was only a loose shutter")])
    s.know(a=a, b=b, fear=fear, truth=truth)
    s.know(seen=seen.format(a=a))
    s.say("{a} was afraid of {fear}.", "There was one thing {a} did not like, and that was {fear}.", "Nobody knew that {a} was afraid of {fear}.")
    s.say('"Everyone is afraid of something," said {b}.', '"When I was small, I was afraid too," said {b}.',
          '{b} said, "Take my hand. We will look at it together."')
    s.say("One evening {a} had to go alone.", "One night {b} was ill, and {a} had to fetch a lamp.", "But one day {a}'s little brother needed help, and nobody else was there.")
    s.say("{seen}.", "{seen}, and {a}'s heart beat fast.")
    s.say("{a} wanted to run, but {a.he} stayed.", "{a.He} took a deep breath and counted to ten.", '"Who is there?" asked {a} in a small voice.')
    s.say("{truth}!", "{truth}, and {a} began to laugh.")
    s.say('"You were brave," said {b}. "To be brave is to be afraid and still go."', "After that {fear} was not so bad.",
          '"Were you not afraid?" asked {b}. "A little," said {a}.', "That night {a} slept very well.")


def baking(s):
    a, b = s.child(), s.child()
    cake, wrong, why, fix = s.pick([
        ("a cake", "it did not rise", "they had forgotten the eggs", "cut it into thin slices and called it biscuits"),
        ("bread", "it was hard as a stone", "they had forgotten the yeast", "made bread soup from it"),
        ("a pie", "it tasted of the sea", "they had used salt and not sugar", "gave it to the goat, who liked it"),
        ("buns", "they were black on one side", "the oven was too hot", "cut off the black part and ate the rest with jam"),
        ("pancakes", "they stuck to the pan", "there was no butter in it", "tore them into bits and put apples on top")])
    s.know(a=a, b=b, cake=cake, wrong=wrong, why=why, fix=fix, mom=s.pick(["mother", "father", "grandmother"]))
    s.say("{a} and {b} wanted to bake {cake} for {a}'s {mom}.", "It was the birthday of {a}'s {mom}, so {a} and {b} baked {cake}.",
          '"Let us bake {cake}," said {a} to {b}.')
    s.say("{a} took the flour and {b} took the milk.", "They mixed flour, milk and butter in a big bowl.", "{b} read the recipe, and {a} stirred.")
    s.say("Soon there was flour on the table, on the floor and on the cat.", "{b} sneezed, and a white cloud filled the kitchen.",
          '"Stir faster," said {b}. "My arm is tired," said {a}.')
    s.say("They waited by the oven until it smelled good.", "When the clock struck four, they opened the oven.")
    s.say("But {wrong}, because {why}.", "Oh no! {wrong_}. \"I think {why},\" said {a}.".replace("{wrong_}", wrong.capitalize()))
    s.say('"What now?" asked {b}.', "They did not know whether to laugh or to cry.", '"We must not give up," said {a}.')
    s.say("Then they {fix}.", "{a} had an idea. They {fix}.")
    s.say('"This is the best gift," said the {mom}.', "{a}'s {mom} laughed until the tears came.", "And nothing was left over.",
          '"Next time we will read the recipe twice," said {b}.')


def new_friend(s):
    a, b = s.child(), s.child()
    x = s.thing()
    s.know(a=a, b=b, x=x, far=s.pick("faraway"), sight=s.pick("sight"))
    s.say("A new family moved into the house next door. They came from a town {far}.", "{b} was new at school and knew nobody.",
          "One day a girl or boy stood at the fence. It was {b}, the new neighbor.".replace("a girl or boy", "a " + b.child))
    s.say("{b} stood alone by the wall and looked at {b.his} shoes.", "{b} did not say a word.", "The other children ran past {b} and did not stop.")
    s.say("{a} saw this and went over.", "{a} thought about it for a while. Then {a.he} waved.", "{a} remembered how it was to be new.")
    s.say('"Hello, I am {a}. What is your name?" "{b}," said {b} softly.', '"Do you want to play with my {x}?" asked {a}.', '"Can you climb trees?" asked {a}. "Yes," said {b}, "I am good at it."')
    s.say("{b} smiled for the first time.", "{b}'s face turned red, but {b.he} nodded.")
    s.say("They played until the sun went down.", "{a} showed {b} the pond, the mill and the best tree for climbing.", "{b} told {a} about the town {far}.")
    s.say('"Will you come again tomorrow?" asked {b}. "Of course," said {a}.', "Since then {a} and {b} walk to school together every day.",
          "In the evening {b} told {b.his} mother, \"I have a friend.\"")


def building(s):
    a, b = s.child(), s.child()
    thing, fault, fix, proof = s.pick([
        ("bird house", "the hole was too small", "made the hole as big as a plum", "two small birds moved in"),
        ("raft", "the ropes were loose", "tied every knot twice", "it carried both of them across the pond"),
        ("kite", "the tail was too short", "tied old socks to the tail", "it rose higher than the church"),
        ("bridge", "the board was too thin", "laid a thick board beside it", "even the pony could cross"),
        ("snow man", "the sun had melted the head", "put a hat on a new head", "it stood for a week"),
        ("tree house", "there was no ladder", "made a ladder from old wood", "they ate their lunch up there every day"),
        ("cart", "one wheel came off", "nailed the wheel on again", "it rolled down the hill without stopping")])
    s.know(a=a, b=b, x=Thing(thing), fault=fault, fix=fix, proof=proof, n=number(s.number(2, 9)))
    s.open("winter" if thing == "snow man" else s.pick(["spring", "summer", "autumn"]))
    s.say("{a} and {b} wanted to build {x.a}.", '"I will build {x.a}," said {a}. "May I help?" asked {b}.', "{a} had a plan for {x.a}, and {b} had a hammer.")
    if thing != "snow man":
        s.say("They found {n} boards behind the shed.", "They asked for wood, string and {n} nails.", "{a} measured, and {b} sawed.")
    s.say("They worked the whole morning.", "It was hard work, but they sang while they worked.", "At noon the {x} was ready.")
    s.say("But it did not work, because {fault}.", "Then they saw the trouble: {fault}.", '"Look," said {b}, "{fault}."')
    s.say('"It is no use," said {a}. "Let us try again," said {b}.', "{a} wanted to stop, but {b} did not.", '"We only have to change one thing," said {b}.')
    s.say("So they {fix}.", "This time they {fix}.")
    s.say("Now {proof}!", "It worked, and {proof}.", "And really, {proof}.")
    s.say('"The second time is the best time," said {a}.', "They painted it {color}.".replace("{color}", s.pick("color")), *HAPPY)


def riddle(s):
    a, b = s.child(), s.elder()
    (q1, a1), (q2, a2) = s.pick(RIDDLES, 2)
    wrong = s.pick([x for _, x in RIDDLES if x not in (a1, a2)])
    s.know(a=a, b=b, q1=q1, a1=a1, q2=q2, a2=a2, wrong=wrong)
    s.say("{a} and {b} sat on the bench and asked riddles.", "It was raining, so {b} asked {a} a riddle.", '"I know a riddle," said {b} to {a}.')
    s.say('"What {q1}?" asked {b}.', '{b} said, "Listen. It {q1}. What is it?"')
    s.say('{a} thought for a long time. "Is it {wrong}?" "No," said {b}.', '"That must be {wrong}," said {a}. But it was wrong.', '"I do not know," said {a}. "Think again," said {b}.')
    s.say('"It is {a1}!" cried {a}.', 'Then {a} jumped up. "I have it. It is {a1}!"')
    s.say('"Right," said {b}. "Now it is your turn."', '"Very good," said {b}.')
    if s.chance(0.7):
        s.say('"Then tell me, what {q2}?" asked {a}. "That is easy," said {b}. "It is {a2}."', '{a} asked, "What {q2}?" {b} did not know. It was {a2}.')
    s.say("They went on until supper was ready.", "When the rain stopped, they were still asking riddles.", "{a} told the riddle to everyone at school.")


def help_elder(s):
    a, b = s.child(), s.elder()
    task, tool, thanks = s.pick([
        ("carry wood into the house", "a small sled", "a jar of honey"), ("bring water from the well", "two buckets", "a warm bun"),
        ("pick the apples from the top of the tree", "a ladder", "a basket of apples"), ("clear the snow from the path", "a wide shovel", "a pair of gloves"),
        ("find {b.his} glasses", "a candle", "an old story"), ("rake the leaves", "a rake with ten teeth", "a bag of nuts"),
        ("paint the gate", "a pot of green paint", "a brush of {a.his} own")])
    s.know(a=a, b=b)
    s.know(task=task.format(a=a, b=b), tool=tool, thanks=thanks.format(a=a, b=b))
    s.say("{b} was old and could not {task} alone.", "{b} wanted to {task}, but {b.his} back hurt.", "One day {a} saw that {b} tried to {task}.")
    s.say('"Let me do it," said {a}.', '"May I help you, {b}?" asked {a}.', "{a} put down {a.his} bag and went to help.")
    s.say("{a.He} fetched {tool} and began.", '"Take {tool}," said {b}. "It is behind the door."')
    s.say("It took a long time, and {a}'s hands were cold.", "After an hour the work was done.", "{a} worked until the bell rang four times.")
    s.say('"You are kind," said {b}, and gave {a} {thanks}.', "{b} thanked {a} and gave {a.him} {thanks}.")
    s.say('"I do not need anything," said {a}. "I know," said {b}. "That is why you get it."', "{a} shared it with {a.his} sister.",
          "Since then {a} comes every {day}.".replace("{day}", s.pick("day")), "{a} went home and felt warm inside.")


def swapping(s):
    a = s.child()
    things = [Thing(n) for n in s.pick(["button", "feather", "pencil", "candle", "mirror", "bell", "knife", "lantern", "hen", "drum", "book", "pumpkin"], 4)]
    people = s.pick(["a farmer", "a baker", "a sailor", "a tailor", "a teacher", "a miller", "a fisherman", "a painter"], 3)
    s.know(a=a)
    s.say(f"{{a}} had nothing but {things[0].a}.", f"One day {{a}} found {things[0].a} in the road.", f"In {{a.his}} pocket {{a}} had {things[0].a}.")
    for person, old, new in zip(people, things, things[1:]):
        s.say(f"{{a.He}} met {person} who needed {old.a}. \"Give me the {old}, and I will give you {new.a},\" said the {person[2:]}.",
              f"Then came {person}. \"I have {new.a}, but I need {old.a},\" said the {person[2:]}. So they swapped.",
              f"{{a}} gave the {old} to {person} and got {new.a}.")
    s.say(f'"This morning I had {things[0].a}, and now I have {things[3].a}," said {{a}}.', f"So {{a}} came home with {things[3].a}.",
          f"{{a}} kept the {things[3]} and did not swap again.")
    s.maybe(0.5, f"And who has the {things[0]} now? The {people[0][2:]} has it.", f"And the {things[1]}? The {people[1][2:]} has it.",
            "{a.His} mother could not believe it.")


def walk(s):
    a, b = s.child(), s.elder()
    sights = s.pick("sight", 3)
    s.know(a=a, b=b, one=sights[0], two=sights[1], three=sights[2], all=listed(sights))
    s.open()
    s.say("{a} and {b} went for a long walk.", "{b} took {a} to the top of the hill.", "{a} and {b} walked along the river.")
    s.say("First they saw {one}.", "Near the gate there was {one}.".replace("was", "were") if sights[0][:5] == "three" else "Near the gate there was {one}.")
    s.say('"Look there!" said {a}. It was {two}.' if sights[1][:5] != "three" else '"Look there!" said {a}. They saw {two}.', "{b} stopped and pointed. There they saw {two}.", "A little later they saw {two}.")
    s.maybe(0.5, "They ate bread and cheese in the grass.", "{b} rested on a stone, because the path was steep.", '"Are you tired?" asked {b}. "No," said {a}.')
    s.say("On the way back they saw {three}.", "Last of all they saw {three}.")
    s.say('"What did we see today?" asked {b}. "{all_}," said {a}.'.replace("{all_}", s.env["all"][0].upper() + s.env["all"][1:]),
          "In the evening {a} drew a picture of everything: {all}.", '"I will never forget it," said {a}: "{all}."')


def who_did_it(s):
    a = s.child()
    c, d, e = s.animal(), s.animal(), s.animal()
    food = s.pick(["pie", "cake", "cheese", "bread", "soup"])
    s.know(a=a, c=c, d=d, e=e, food=food)
    s.say("Somebody had eaten the {food}.", "The {food} on the table was gone.", '"Who ate my {food}?" asked {a}.')
    s.say("{a} had three animals: {c} the {c.kind}, {d} the {d.kind} and {e} the {e.kind}.", "It could be {c} the {c.kind}, {d} the {d.kind} or {e} the {e.kind}.")
    s.say('"Was it you, {c}?" asked {a}. {c} only said, "{c.Sound}."', "{c} looked away and said nothing.")
    s.say("{d} was asleep {d.bed}.", "{d} had been outside all day, so it could not be {d}.")
    s.say("Then {a} found {e.trace} under the table.", "Beside the plate lay something: it was {e.trace}." if not e.trace.endswith(("s", "prints", "marks")) else "Beside the plate {a} saw {e.trace}.")
    s.say('"Only {e.a} leaves that," said {a}.', "So {a} knew that it was {e}.", '"Now I know," said {a}. "It was {e}!"')
    s.say("{e} hung {e.his} head.", "{e} ran away as fast as {e.he} could.", '"{e.Sound}," said {e} very softly.')
    s.say("But {a} was not angry, because {e} had been hungry.", "{a} gave {e} {e.food} and baked a new {food}." if food not in ("cheese", "soup") else "{a} gave {e} {e.food} and closed the kitchen door.",
          "After that the {food} stood on the highest shelf.")


def bedtime(s):
    a, c = s.child(), s.animal(kinds=["cat", "dog", "mouse", "rabbit"])
    k = s.pick([x for x in sorted(ANIMALS) if x != c.kind], 2)
    s.know(a=a, c=c, k1=k[0], k2=k[1], b1=ANIMALS[k[0]][2].replace("its", "her"), b2=ANIMALS[k[1]][2].replace("its", "his"), mom=s.pick(["mother", "father", "grandmother"]))
    s.say("It was late, but {a} could not sleep.", "The moon was shining, and {a} lay awake.", '"I am not tired," said {a}.')
    s.say('"Everyone is asleep," said {a.his} {mom}.', '{a.His} {mom} sat down on the bed. "Listen," {he} said.'.replace("{he}", "he" if s.env["mom"] == "father" else "she"))
    s.say('"The {k1} sleeps {b1}. The {k2} sleeps {b2}."', '"Where does the {k1} sleep?" asked {a}. "It sleeps {b1}," was the answer.'.replace("{b1}", ANIMALS[k[0]][2]))
    s.say('"And {c}?" asked {a}. "{c} the {c.kind} sleeps {c.bed}."', "{c} the {c.kind} was asleep {c.bed} already.")
    s.say("The wind sang in the chimney.", "Far away a train went by.", "A star looked in at the window.", "The old clock said tick, tock.")
    s.say('"Good night, {a}." But {a} did not hear it any more.', "{a} closed {a.his} eyes, and then {a.he} was asleep too.", "Soon it was quiet in the whole house.")


def seasons(s):
    fruit, plant, a = s.pick(["apple", "pear", "plum", "peach"]), s.pick("plant"), s.child()
    k = s.pick(["squirrel", "hedgehog", "fox", "crow", "rabbit"])
    s.know(fruit=fruit, fruits=plural(fruit), plants=plural(plant), a=a, k=k)
    s.say("{a} has a garden with {an} tree.".replace("{an}", article(fruit)), "Behind the house of {a} stands {an} tree.".replace("{an}", article(fruit)))
    s.say("In spring the {fruit} tree is white with flowers.", "In spring {a} plants {plants}, and the bees come.",
          "In spring the buds open, because the days grow longer.")
    s.say("In summer the leaves give shade, and {a} reads under the tree.", "In summer it is hot, so {a} carries water every evening.",
          "In summer the fruit is still green and hard.")
    s.say("In autumn the {fruits} are ripe, and all the neighbors come to pick them.", "In autumn the {k} gathers food, because winter is near.",
          "In autumn the wind takes the leaves, and {a} rakes them.")
    s.say("In winter the tree sleeps under the snow.", "In winter {a} feeds the birds, because they find nothing in the snow.",
          "In winter {a} cuts the old wood and ties the young branches to the wall.")
    s.say("Then it begins again.", '"Which is the best time of the year?" asked the {k}. "The next one," said {a}.'.replace(" asked the {k}", " asked {a.his} sister"),
          "A year is a wheel, and the garden turns with it.")


def purse(s):
    a, b = s.child(), s.elder()
    n = s.number(4, 12)
    s.know(a=a, b=b, n=number(n), color=s.pick("color"), place=s.pick("place"), x=s.thing())
    s.open()
    s.say("On the road near the {place} {a} found a {color} purse.", "{a} stepped on something soft. It was a {color} purse.",
          "A {color} purse lay in the grass, and {a} picked it up.")
    s.said[-1] = s.said[-1].replace("a orange", "an orange").replace("A orange", "An orange")
    s.say("There were {n} coins in it.", "{a.He} counted the coins. There were {n}.", "It was heavy, because it held {n} coins.")
    s.say("With {n} coins {a.he} could buy {x.a}.", '"Now I am rich," thought {a}.', "{a} had wanted {x.a} for a long time.")
    s.say("But the purse belonged to somebody, and that person was surely sad.", "Then {a} thought of the one who had lost it.",
          '"But it is not mine," said {a} aloud.')
    s.say("{a} went from door to door and asked.", "{a.He} asked the baker, the miller and the teacher.", "So {a.he} stood at the well and waited.")
    s.say('"It is mine," said {b}. "It is {color}, and there are {n} coins in it."', 'At last {b} came, and {b.he} looked very worried. "Have you seen a purse?" asked {b.he}.')
    s.say('"Here it is," said {a}. "Nothing is missing."', "{a} gave it back, and {b} counted the coins. All {n} were there.")
    s.say('"You are honest," said {b}, and gave {a} two coins.', "{b} was so glad that {b.he} danced in the street.",
          "{a} had no coins now, but {a.he} whistled all the way home.", "The next week {b} brought {a} {x.a}.")


def race(s):
    a, b, c = s.child(), s.child(), s.child()
    s.know(a=a, b=b, c=c, place=s.pick("place"), prize=s.thing(), elder=s.elder(), sight=s.pick("sight"))
    s.open(s.pick(["spring", "summer", "autumn"]))
    s.say("{a}, {b} and {c} wanted to know who was the fastest.", '"Let us race to the {place}," said {a} to {b} and {c}.', "There was a race in the village, and {a}, {b} and {c} took part.")
    s.say("The prize was {prize.a}.", "{elder} promised {prize.a} to the winner.")
    s.say('"One, two, three, go!" called {elder}.', "{elder} dropped a handkerchief, and they ran.")
    s.say("At first {a} was in front.", "{a} ran ahead, and {b} was close behind.", "{b} was last, because {b.his} shoe was open.")
    s.say("Then {c} fell over a root and hurt {c.his} knee.", "Suddenly {c} lay on the ground and held {c.his} foot.")
    s.say("{a} ran on, but {b} stopped.", "{b} saw it, turned around and went back.")
    s.say('"Go on, or you will lose," said {c}. "That does not matter," said {b}.', '"Lean on me," said {b}, and they walked together.')
    s.say("{a} won the race.", "{a} came first, and {b} and {c} came last.")
    s.say("But {a} gave {prize.the} to {b}. \"You won something better,\" said {a.he}.", '"There are two winners today," said {elder}, and {b} got a cake.',
          "{c} never forgot it, and they stayed friends.")


def ill(s):
    a, b, c = s.child(), s.child(), s.animal(kinds=["cat", "dog", "hen", "rabbit", "mouse"])
    s.know(a=a, b=b, c=c, sight=s.pick("sight"), x=s.thing(), day=s.pick("day"))
    s.say("{a} was ill and had to stay in bed.", "On {day} {a} woke up with a hot head.", "{a} had played in the rain, and now {a.he} had a cold.")
    s.say('"No school for you today," said {a.his} mother.', "The doctor came and looked at {a.his} tongue.", '"Stay in bed and drink tea," said the doctor.')
    s.say("Outside the other children were playing.", "The day was long, and {a} counted the cracks in the wall.", "{a} looked out of the window and was bored.")
    s.say("Only {c} the {c.kind} stayed with {a.him}.", "{c} the {c.kind} sat at the end of the bed and looked worried.")
    s.say("Then somebody knocked at the door. It was {b}.", "After school {b} came to visit.")
    s.say("{b} brought {x.a} and sat down on the bed.", '"I brought you {x.a}," said {b}.', '"Everyone at school asked for you," said {b}.')
    s.say('"On the way I saw {sight}," said {b}, and {a} laughed.', "{b} told {a} what they had learned that day.", "They played until {a}'s eyes were small.")
    s.say("Two days later {a} was well again.", "The next morning the fever was gone.", '"A friend is the best medicine," said the doctor.')


def about(s):
    """A sentence or two about the first person of the story, and the friend, before it begins."""
    s.know(age=number(s.number(5, 12)), door=article(s.pick("color")), where=s.pick(["near the mill", "beside the church", "at the end of the street",
           "on the edge of the village", "behind the hill", "above the bakery", "by the river", "next to the school"]),
           sibling=s.pick(["brother", "sister"]),
           likes=s.pick(["to climb trees", "to read", "to sing", "to draw", "to fish", "to swim", "to count things", "to collect stones",
                         "to feed the birds", "to ask questions", "to run", "to dig in the garden", "to play the flute"]),
           wears=s.pick(["cap", "coat", "scarf", "jacket", "sweater"]), shade=article(s.pick("color")),
           work=s.pick(["baker", "miller", "farmer", "teacher", "sailor", "tailor", "gardener", "doctor", "potter"]))
    s.know(other=s.fresh(BOYS if s.env["sibling"] == "brother" else GIRLS))
    s.say("{a} was {age} years old.", "{a} lived in a house with {door} door {where}.", "{a} lived {where}.", "{a} was a {a.child} who liked {likes}.",
          "{a} had a {sibling} named {other}.",
          "{a} always wore {shade} {wears}.", "{a}'s father was a {work}.", "{a}'s mother was a {work}.", "{a}, the child of a {work}, was {age} years old.",
          "{a} was {age} and liked {likes}.", "Everybody in the village knew {a}, the {a.child} with the {wears}.",
          "{a} lived {where} with {a.his} mother and father.", "More than anything {a} liked {likes}.")


PLOTS = [lost_thing, storm, planting, espalier, espalier, market, letter, rescue, quarrel, fable, afraid, baking, purse,
         race, ill, new_friend, building, riddle, help_elder, swapping, walk, who_did_it, bedtime, seasons]
