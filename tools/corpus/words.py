"""The vocabulary of the corpus and the small objects that templates are filled with."""

GIRLS = """Ada Amy Anna Bess Clara Cora Daisy Edie Ella Emma Fern Hanna Iris Ivy Jane June Kate Lena Lucy Mara Mia
Mina Nell Nina Nora Olive Pia Rosa Ruth Sara Tess Wren""".split()
BOYS = """Adam Alec Ben Cal Dan Eli Emil Finn Fred Gus Hugo Ian Jack Jonas Karl Leo Luke Mark Max Milo Ned Noah Oscar
Otto Paul Peter Rob Sam Theo Tim Tom Will""".split()
PETS = """Biscuit Bramble Button Clover Dot Fluff Ginger Hazel Inky Jumper Misty Mop Nutmeg Patch Pebble Pepper Pip
Plum Puddle Rusty Sandy Scout Smoke Snap Socks Spot Tuck Whisper""".split()
OLD_WOMEN = ["Grandma Rose", "Aunt Vera", "Mrs. Reed", "Mrs. Hill", "Old Martha", "Grandma Lin", "Mrs. Dale"]
OLD_MEN = ["Grandpa Joe", "Uncle Bert", "Mr. Reed", "Mr. Stone", "Old Henry", "Grandpa Lin", "Mr. Dale"]

# kind: sound, food, where it sleeps, what it leaves behind
ANIMALS = {
    "cat": ("meow", "fish", "in a basket", "a tuft of soft fur"),
    "dog": ("woof", "a bone", "on the mat", "big muddy paw prints"),
    "hen": ("cluck", "corn", "in the hen house", "a brown feather"),
    "duck": ("quack", "bread", "by the pond", "wet flat footprints"),
    "goat": ("maa", "fresh hay", "in the barn", "small round hoof prints"),
    "mouse": ("squeak", "cheese", "under the floor", "tiny tooth marks"),
    "rabbit": ("sniff", "a carrot", "in a warm hole", "a bit of carrot"),
    "pony": ("neigh", "an apple", "in the stable", "one iron shoe"),
    "crow": ("caw", "seeds", "in the tall pine", "a black feather"),
    "squirrel": ("chatter", "nuts", "in a hollow tree", "a heap of empty nut shells"),
    "hedgehog": ("snuffle", "beetles", "under the leaves", "a short sharp spine"),
    "fox": ("yip", "berries", "in its den", "a red hair on the fence"),
    "frog": ("croak", "flies", "under a lily leaf", "a wet spot on the stone"),
    "lamb": ("baa", "sweet grass", "beside its mother", "a curl of white wool"),
}

COLORS = "red blue green yellow brown white black gray orange golden".split()
LOOKS = "small big old new bright round little shiny plain pretty".split()
TOYS = "ball kite drum boat doll whistle top wagon rope hat book ring key lamp scarf bell cup spoon coat map".split()
FRUIT = ["apple", "pear", "plum", "cherry", "peach", "fig"]
PLANTS = ["bean", "pea", "carrot", "pumpkin", "sunflower", "onion", "radish", "rose", "tulip", "tomato"]
GOODS = ["apples", "pears", "eggs", "buns", "candles", "onions", "lemons", "nuts", "ribbons", "pencils", "rolls",
         "carrots"]
PLACES = ["barn", "garden", "kitchen", "attic", "cellar", "school", "mill", "shed", "yard", "orchard", "stable",
          "library", "field", "meadow"]
HIDES = ["under the bed", "behind the door", "in the tall grass", "beside the well", "on top of the shelf",
         "under the old bench", "inside a boot", "behind the wood pile", "in the wheelbarrow", "between two pots",
         "near the gate", "in the hay", "under the stairs", "at the bottom of a bag", "on the window sill"]
FARAWAY = ["by the sea", "in the big city", "across the mountains", "on a small island", "at the end of the railway",
           "in the north", "beyond the forest", "on the other side of the lake"]
SIGHTS = ["a heron in the reeds", "a boat with a white sail", "a stone bridge", "a field of poppies", "a tall church",
          "three deer", "a windmill", "a train with seven cars", "a rainbow", "a flock of geese", "a sleeping cow",
          "a man with a ladder", "a castle made of sand", "a blue beetle", "a fallen oak", "a woman on a bicycle"]
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()

# season: skies and what is seen then
SEASONS = {
    "spring": (["mild", "bright", "rainy", "fresh"], ["The buds were opening.", "The birds were building nests.",
               "The grass was soft and new.", "Water ran in every ditch."]),
    "summer": (["hot", "sunny", "long", "warm"], ["The bees were busy.", "The road was dusty and white.",
               "The fields were full of wheat.", "Everyone looked for shade."]),
    "autumn": (["windy", "misty", "cool", "golden"], ["Leaves were falling everywhere.",
               "The geese were flying south.", "The air smelled of smoke and apples.",
               "Spider webs hung on the hedge."]),
    "winter": (["cold", "snowy", "quiet", "icy"], ["The pond was frozen.", "Smoke rose from every chimney.",
               "The branches were bare.", "Snow lay on the roofs."]),
}

RIDDLES = [
    ("has four legs but cannot walk", "a table"), ("has hands but cannot clap", "a clock"),
    ("has teeth but cannot bite", "a comb"), ("gets wet while it dries", "a towel"),
    ("has a neck but no head", "a bottle"), ("goes up when the rain comes down", "an umbrella"),
    ("has one eye but cannot see", "a needle"), ("runs all day and never gets tired", "a river"),
    ("has many leaves but is not a tree", "a book"), ("follows you in the sun and hides in the dark", "your shadow"),
    ("is full of holes and still holds water", "a sponge"), ("has a face but no mouth", "a clock"),
    ("eats wood but is never full", "a fire"), ("has a bed but never sleeps", "a river"),
    ("can fill a room but weighs nothing", "light"), ("has ears but cannot hear", "a field of corn"),
    ("is white when it comes and water when it goes", "snow"), ("has a tongue but cannot speak", "a shoe"),
]


def article(words):
    return ("an " if words[0] in "aeiou" else "a ") + words


def plural(word):
    if word.endswith("y"):
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("o", "h")) else "s")


class Thing:
    """`{x}` a kite's name, `{x.a}` a red kite, `{x.the}` the red kite."""

    def __init__(self, noun, look=""):
        self.noun, self.look = noun, look
        full = f"{look} {noun}".strip()
        self.a, self.the = article(full), "the " + full
        self.A, self.The = self.a.capitalize(), self.the.capitalize()

    def __str__(self):
        return self.noun


class Who:
    """Somebody with a name and the pronouns that go with it."""

    def __init__(self, name, female, kind=None, look=""):
        self.name, self.kind = name, kind
        self.he, self.him, self.his = ("she", "her", "her") if female else ("he", "him", "his")
        self.He, self.His = self.he.capitalize(), self.his.capitalize()
        self.child = "girl" if female else "boy"
        if kind:
            self.sound, self.food, self.bed, self.trace = ANIMALS[kind]
            self.look, self.Sound = look, self.sound.capitalize()
            self.a = article(f"{look} {kind}".strip())
            self.A, self.the = self.a.capitalize(), f"the {kind}"
            self.The = f"The {kind}"

    def __str__(self):
        return self.name
