"""The second styles: rhymes in couplets, and recipes."""
from words import COLORS, DAYS, GIRLS, BOYS, NUMBERS, article

# Pairs of line endings that rhyme; each line is a subject part and an ending that fits it.
COUPLETS = [
    ("in the tree", "and so did we"), ("by the sea", "and called for me"), ("on the hill", "and is there still"),
    ("in the night", "without a light"), ("on the wall", "and was not tall"), ("in the rain", "and home again"),
    ("all the day", "and would not stay"), ("near the town", "and tumbled down"), ("by the door", "and wanted more"),
    ("in the sun", "and had such fun"), ("with a bell", "and slept quite well"), ("on the ground", "and looked around"),
    ("in the hay", "and ran away"), ("under the moon", "and hummed a tune"), ("on a chair", "and combed his hair"),
    ("in the snow", "and did not go"), ("by the brook", "and read a book"), ("on a log", "and met a frog"),
    ("by the gate", "and had to wait"), ("in a boat", "and lost a coat"), ("at the fair", "and found a pear"),
    ("near the mill", "and caught a chill"), ("with a spoon", "and left at noon"), ("in a cup", "and drank it up"),
]
DOERS = ["cat", "dog", "hen", "mouse", "fox", "crow", "frog", "goat", "duck", "bee", "lamb", "owl", "king", "cook",
         "baker", "miller", "sailor", "tailor"]
DEEDS = ["sat", "danced", "sang", "sneezed", "whistled", "stood", "jumped", "smiled", "waited", "dreamed", "rested",
         "stayed", "played", "laughed"]
LAST = [("Oh, what a day, oh, what a song,", "come clap your hands and sing along!"),
        ("Ring the bell and beat the drum,", "tell the neighbors all to come!"),
        ("One for you and one for me,", "now we count to one, two, three!"),
        ("Round and round the garden wall,", "grow, my tree, and do not fall!"),
        ("Tie the branch and mind the bud,", "wash your boots of all the mud!"),
        ("Sun goes down and moon goes up,", "milk is waiting in the cup!"),
        ("Turn around and touch the floor,", "then we sing it all once more!"),
        ("Hush, the wind is in the corn,", "sleep until the early morn!")]


def rhyme(source):
    first, second = source.choice(COUPLETS)
    doer, deed, color = source.choice(DOERS), source.choice(DEEDS), source.choice(COLORS)
    day = source.choice(DAYS)
    opening = source.choice([f"{article(color + ' ' + doer).capitalize()} {deed} {first},", f"On {day} a {doer} {deed} {first},",
                             f"The {color} {doer} {deed} {first},"]).replace("a owl", "an owl")
    friend = source.choice([d for d in DOERS if d != doer])
    answer = source.choice([f"the {friend} came by {second}.", f"it {source.choice([d for d in DEEDS if d != deed])} once more {second}.",
                            f"then came the {friend} {second}."])
    if source.random() < 0.6:
        third, fourth = source.choice(LAST)
    else:
        ends = source.choice([c for c in COUPLETS if c[0] != first])
        name = source.choice(GIRLS + BOYS)
        third = f"And {name} {source.choice(DEEDS)} {ends[0]},"
        fourth = f"the {source.choice(DOERS)} looked up {ends[1]}!"
    return "\n".join([opening, answer, third, fourth])


DISHES = {
    "soup": (["carrot", "onion", "pea", "potato", "pumpkin", "bean"], "pot"),
    "pie": (["apple", "pear", "plum", "cherry", "cheese", "onion"], "dish"),
    "cake": (["honey", "lemon", "nut", "apple", "carrot"], "tin"),
    "salad": (["bean", "tomato", "radish", "potato", "egg"], "bowl"),
    "bread": (["nut", "honey", "onion", "seed", "butter"], "tin"),
}
MANY = {"cherry": "cherries", "potato": "potatoes", "tomato": "tomatoes", "radish": "radishes", "butter": "cups of butter",
        "honey": "spoons of honey", "cheese": "slices of cheese", "seed": "spoons of seeds"}
EXTRA = ["salt", "butter", "milk", "flour", "pepper", "sugar", "cream", "oil", "parsley", "mint"]
LITTLE = ["a pinch of", "a spoon of", "a little", "some"]
MUCH = ["half a cup of", "a cup of", "two cups of", "some"]


def recipe(source):
    dish = source.choice(sorted(DISHES))
    mains, vessel = DISHES[dish]
    main = source.choice(mains)
    many = MANY.get(main, main + "s")
    count, people = NUMBERS[source.randint(2, 9)], NUMBERS[source.randint(2, 8)]
    x, y = source.sample([e for e in EXTRA if e != main], 2)
    amount = {e: source.choice(MUCH if e in ("butter", "milk", "flour", "cream") else LITTLE) for e in (x, y)}
    minutes = source.choice([5, 10, 15, 20, 30, 40])
    cut = source.choice(["Wash", "Cut", "Chop", "Weigh"]) if main not in ("honey", "butter", "seed") else "Measure"
    heat = {"soup": f"Cook for {minutes} minutes.", "salad": f"Chill for {minutes} minutes."}.get(
        dish, f"Bake for {minutes} minutes until golden.")
    steps = [f"{cut} the {many.split(' of ')[-1]}.", source.choice([f"Add {x} and {y}.", f"Mix {x} with {y}.", f"Stir in the {x}, then the {y}."]),
             source.choice([f"Put everything in a {source.choice(['big', 'deep', 'clean', 'warm'])} {vessel}.", f"Fill the {vessel} to the top.",
                            f"Pour it into the {vessel} and stir."]), heat,
             source.choice(["Serve hot.", "Serve with bread.", "Let it rest, then serve.", "Share it with a friend.", "Serve at once and enjoy."])]
    if dish == "salad":
        steps[4] = source.choice(["Serve cold.", "Serve with bread.", "Share it with a friend."])
    lines = [f"{main.capitalize()} {dish} for {people}",
             f"You need: {count} {many}, {amount[x]} {x}, {amount[y]} {y}."]
    return "\n".join(lines + [f"{i}. {step}" for i, step in enumerate(steps, 1)])
