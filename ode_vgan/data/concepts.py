"""What an emoji shows, whoever shows it: its concept, skin tone, and side of the split."""

import hashlib

TONES = {
    "\U0001f3fb": "light",
    "\U0001f3fc": "medium-light",
    "\U0001f3fd": "medium",
    "\U0001f3fe": "medium-dark",
    "\U0001f3ff": "dark",
}
JOINER, VARIATION = "\u200d", "\ufe0f"
PERSON, CHILD, ELDER, FAMILY = "\U0001f9d1", "\U0001f9d2", "\U0001f9d3", "\U0001f46a"
COUPLE, KISS = "\U0001f491", "\U0001f48f"
HANDS = f"{PERSON}{JOINER}\U0001f91d{JOINER}{PERSON}"  # people holding hands
# sequences that exist with skin tones only, and the single emoji they vary
WHOLE = {
    f"\U0001f469{JOINER}\U0001f91d{JOINER}\U0001f468": "\U0001f46b",
    f"\U0001f468{JOINER}\U0001f91d{JOINER}\U0001f468": "\U0001f46c",
    f"\U0001f469{JOINER}\U0001f91d{JOINER}\U0001f469": "\U0001f46d",
    f"{PERSON}{JOINER}\u2764{JOINER}{PERSON}": COUPLE,
    f"{PERSON}{JOINER}\u2764{JOINER}\U0001f48b{JOINER}{PERSON}": KISS,
    "\U0001faf1\u200d\U0001faf2": "\U0001f91d",
}
# emoji whose gender or age is not a sign of its own: each is mapped to the neutral one
NEUTRAL = {
    "\U0001f468": PERSON,  # man
    "\U0001f469": PERSON,  # woman
    "\U0001f466": CHILD,  # boy
    "\U0001f467": CHILD,  # girl
    "\U0001f474": ELDER,  # old man
    "\U0001f475": ELDER,  # old woman
    "\U0001f385": f"{PERSON}{JOINER}\U0001f384",  # Santa Claus
    "\U0001f936": f"{PERSON}{JOINER}\U0001f384",  # Mrs. Claus
    "\U0001f934": "\U0001fac5",  # prince
    "\U0001f478": "\U0001fac5",  # princess
    "\U0001f57a": "\U0001f483",  # man dancing, woman dancing
    "\U0001f930": "\U0001fac4",  # pregnant woman
    "\U0001fac3": "\U0001fac4",  # pregnant man
    "\U0001f46b": HANDS,
    "\U0001f46c": HANDS,
    "\U0001f46d": HANDS,
    "\U0001f931": f"{PERSON}{JOINER}\U0001f37c",  # breast-feeding, person feeding baby
}
GENDER_SIGNS = (f"{JOINER}\u2640", f"{JOINER}\u2642")  # joined to a person
FACING_RIGHT = f"{JOINER}\u27a1"
TEST_ONE_IN = 10


def untoned_codes(emoji: str) -> str:
    """The emoji without skin tones and variation selectors; people who exist only toned as their single emoji."""
    plain = "".join(sign for sign in emoji if sign not in TONES and sign != VARIATION)
    return WHOLE.get(plain, plain)


def tones_of(emoji: str) -> str:
    """In words, "" without any: "medium skin tone", "light skin tone and dark skin tone"."""
    tones = dict.fromkeys(f"{TONES[sign]} skin tone" for sign in emoji if sign in TONES)
    return " and ".join(tones)


def concept_codes(codes: str) -> str:
    """The neutral emoji that stands for every gender and age of this one (as from `untoned_codes`)."""
    for sign in (*GENDER_SIGNS, FACING_RIGHT):
        codes = codes.replace(sign, "")
    people = [sign for sign in codes if NEUTRAL.get(sign) in (PERSON, CHILD) or sign in (PERSON, CHILD)]
    if "\u2764" in codes and len(people) == 2:
        return KISS if "\U0001f48b" in codes else COUPLE
    if len(people) > 1 and "\U0001f91d" not in codes:
        return FAMILY
    return "".join(NEUTRAL.get(sign, sign) for sign in codes)


def split_of(concept: str) -> str:
    """ "test" for about one concept in ten, by a hash of its name, else "train"."""
    digest = hashlib.sha256(concept.encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") % TEST_ONE_IN == 0 else "train"
