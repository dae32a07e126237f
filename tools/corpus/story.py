"""A story under way: who is in it, what is known, and the sentences so far."""
from words import (ANIMALS, BOYS, COLORS, DAYS, FARAWAY, FRUIT, GIRLS, GOODS, HIDES, LOOKS, NUMBERS, OLD_MEN,
                   OLD_WOMEN, PETS, PLACES, PLANTS, SEASONS, SIGHTS, TOYS, Thing, Who, article)

LISTS = dict(color=COLORS, look=LOOKS, toy=TOYS, place=PLACES, hide=HIDES, fruit=FRUIT, plant=PLANTS, goods=GOODS,
             faraway=FARAWAY, sight=SIGHTS, day=DAYS, kind=sorted(ANIMALS), season=sorted(SEASONS))


class Story:
    def __init__(self, random):
        self.random, self.said, self.taken = random, [], set()
        self.env = {}

    def pick(self, what, count=None):
        """One word of a list, or several different ones."""
        words = LISTS[what] if isinstance(what, str) else what
        return self.random.choice(words) if count is None else self.random.sample(words, count)

    def fresh(self, names):
        name = self.pick([n for n in names if n not in self.taken])
        self.taken.add(name)
        return name

    def child(self):
        female = self.random.random() < 0.5
        return Who(self.fresh(GIRLS if female else BOYS), female)

    def elder(self):
        female = self.random.random() < 0.5
        return Who(self.fresh(OLD_WOMEN if female else OLD_MEN), female)

    def animal(self, kind=None, kinds=None):
        kind = kind or self.pick([k for k in (kinds or sorted(ANIMALS)) if k not in self.taken])
        self.taken.add(kind)
        return Who(self.fresh(PETS), self.random.random() < 0.5, kind, self.pick(["brown", "white", "black", "gray", "small", "big", "old", "young", "little"]))

    def thing(self, noun=None):
        noun = noun or self.fresh(TOYS)
        return Thing(noun, self.pick(COLORS + LOOKS))

    def number(self, low, high):
        return self.random.randint(low, high)

    def know(self, **facts):
        self.env.update(facts)

    def chance(self, share):
        return self.random.random() < share

    def say(self, *choices):
        """Adds one of the choices, with its {slots} filled."""
        self.said.append(self.pick(choices).format_map(self.env))

    def maybe(self, share, *choices):
        if self.chance(share):
            self.say(*choices)

    def open(self, season=None):
        """When it was, and what the world looked like."""
        season = season or self.pick("season")
        skies, views = SEASONS[season]
        self.know(season=season, sky=self.pick(skies), day=self.pick("day"), view=self.pick(views),
                  time=self.pick(["morning", "afternoon", "evening", "day"]))
        self.know(a_sky=article(self.env["sky"]))
        self.say("It was {a_sky} {season} {time}.", "One {sky} {time} in {season}, the village was quiet.",
                 "It was {day}, and the {season} {time} was {sky}." if self.env["sky"] != "long"
                 else "It was a long {season} {day}.",
                 season.capitalize() + " had come to the valley.")
        self.maybe(0.5, "{view}")

    def text(self):
        return " ".join(self.said)


def number(n):
    return NUMBERS[n]


def listed(words):
    """a, b and c"""
    return ", ".join(words[:-1]) + " and " + words[-1]
