"""Reads lists of values that stand in a file of their own: all of them, or the places near one of them."""

import math
from decimal import Decimal
from functools import partial

from lexchange.campaign_file.reading import Section, Unreadable, Value
from lexchange.campaign_file.references import Reference, read_reference
from lexchange.campaign_file.scalars import compared_text, number
from lexchange.campaign_file.scope import Setting

EARTH_RADIUS_MILES = 3_958.8
MILES = partial(number, low=0, high=12_500)  # half way round


def read_value_list(value: Value, setting: Setting) -> tuple[str, ...]:
    """`{file: zips.txt}`: the first column. `{file: places.csv, near: "02139", miles: 25}`: those within the radius.

    For that the columns are a value, its latitude and its longitude, in degrees; a first line of titles may be there.
    """
    with Section(value) as section:
        reference = section.need("file", partial(read_reference, references=setting.lists), None)
        near = section.take("near", compared_text, None)
        miles = section.take("miles", MILES, None)
        if len(section.given("near", "miles")) == 1:
            raise Unreadable(value, "expected near and miles together")
        if reference is None:
            return ()
        file = section.find("file")
        assert file is not None
        try:
            found = reference.first_column if near is None or miles is None else _within(value, reference, near, miles)
        except UnicodeDecodeError as error:
            raise Unreadable(file, f"expected UTF-8 text: {reference.path}") from error
        if not found:
            raise Unreadable(file, f"expected at least one value, one a line: {reference.path}")
        return found


def _within(value: Value, reference: Reference, near: str, miles: Decimal) -> tuple[str, ...]:
    places = _places(value, reference)
    if near not in places:
        raise Unreadable(value, f"expected near to be in the file; got {near!r}: {reference.path}")
    centre = places[near]
    return tuple(name for name, place in places.items() if _miles_between(centre, place) <= miles)


def _places(value: Value, reference: Reference) -> dict[str, tuple[float, float]]:
    """Latitude and longitude in radians, by value."""
    places = {}
    for index, (line, columns) in enumerate(reference.rows):
        try:
            latitude, longitude = float(columns[1]), float(columns[2])
        except (ValueError, IndexError):
            if index == 0:
                continue
            latitude = longitude = math.nan
        if not (abs(latitude) <= 90 and abs(longitude) <= 180):
            expected = "expected lines such as 02139,42.364,-71.104: a value, its latitude and its longitude"
            raise Unreadable(value, f"{expected}: {reference.path}:{line}")
        places[columns[0]] = math.radians(latitude), math.radians(longitude)
    return places


def _miles_between(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Along a great circle, by the haversine formula."""
    (lat, lon), (other_lat, other_lon) = one, other
    square = math.sin((other_lat - lat) / 2) ** 2
    square += math.cos(lat) * math.cos(other_lat) * math.sin((other_lon - lon) / 2) ** 2
    return 2 * EARTH_RADIUS_MILES * math.asin(min(1.0, math.sqrt(square)))
