"""Frequent English words of which everybody knows what they have in common: to judge word vectors by.

Each comes twenty times or more in the beginning of text8, an encyclopedia of 2006. The choice is our own.
"""

__all__ = ["word_categories", "word_pairs"]

_CATEGORIES = {
    "months": "january february march april june july august september october november december",
    "numbers": "zero one two three four five six seven eight nine",
    "colours": "red blue green black white yellow brown grey purple pink",
    "family": "father mother son daughter brother sister wife husband uncle cousin grandfather parents",
    "countries": "france germany italy spain england russia china japan india canada egypt sweden",
    "languages": "english latin french german greek spanish arabic hebrew italian russian chinese japanese",
    "animals": "dog cat horse sheep bird fish lion bear cattle eagle pig tiger",
    "elements": "gold silver iron copper carbon oxygen hydrogen nitrogen mercury sodium calcium aluminium",
    "sciences": "physics chemistry biology mathematics astronomy geology psychology economics anthropology "
    "medicine linguistics archaeology",
    "body": "head hand eye heart brain blood skin foot arm mouth leg neck",
    "occupations": "writer poet actor singer musician painter composer philosopher physicist mathematician "
    "architect journalist",
    "saying": "said wrote argued stated suggested claimed explained described declared believed",
}

_PAIRS = {
    "man to woman": "man woman, men women, king queen, father mother, son daughter, brother sister, husband wife, "
    "he she, himself herself, boy girl, prince princess, actor actress, male female, god goddess",
    "one to many": "year years, day days, city cities, country countries, language languages, word words, book books, "
    "church churches, war wars, name names, law laws, animal animals, river rivers, theory theories",
    "present to past": "is was, are were, has had, make made, take took, become became, begin began, write wrote, "
    "give gave, find found, know knew, say said, hold held, come came",
    "country to adjective": "france french, germany german, italy italian, spain spanish, russia russian, "
    "china chinese, japan japanese, india indian, ireland irish, australia australian, egypt egyptian, "
    "poland polish, canada canadian, sweden swedish",
    "adjective to comparative": "large larger, small smaller, great greater, high higher, low lower, long longer, "
    "old older, early earlier, late later, strong stronger, good better, short shorter, young younger, close closer",
    "adjective to superlative": "large largest, small smallest, great greatest, high highest, low lowest, "
    "long longest, old oldest, early earliest, late latest, strong strongest, good best",
    "adjective to adverb": "recent recently, common commonly, general generally, original originally, usual usually, "
    "similar similarly, complete completely, final finally, current currently, direct directly, "
    "particular particularly, rapid rapidly, simple simply",
    "country to capital": "france paris, england london, germany berlin, italy rome, greece athens, russia moscow, "
    "austria vienna, netherlands amsterdam, israel jerusalem, scotland edinburgh, algeria algiers, angola luanda",
}


def word_categories() -> dict[str, tuple[str, ...]]:
    """Words by what they are: twelve categories of 10 to 12 words, none of them in two categories.

    *May* is no month here, as it is a verb far more often.

    Example:
        >>> word_categories()["colours"][:4]
        ('red', 'blue', 'green', 'black')
    """
    return {name: tuple(words.split()) for name, words in _CATEGORIES.items()}


def word_pairs() -> dict[str, tuple[tuple[str, str], ...]]:
    """Pairs of words by how the second one relates to the first: eight relations of 11 to 14 pairs.

    Two pairs of one relation make an analogy: *man* is to *woman* as *king* is to *queen*.

    Example:
        >>> word_pairs()["man to woman"][:3]
        (('man', 'woman'), ('men', 'women'), ('king', 'queen'))
    """
    found = {}
    for name, pairs in _PAIRS.items():
        words = pairs.replace(",", "").split()
        found[name] = tuple(zip(words[::2], words[1::2], strict=True))
    return found
