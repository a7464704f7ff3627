"""GeoJSON values, and measuring them on the sphere. Coordinates are [longitude, latitude] in degrees.

Areas take the equatorial radius, distances the mean one, as HarperDB's do.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import asin, atan2, cos, degrees, pi, radians, sin, sqrt
from typing import Any

import msgspec

from grammar.errors import SqlError
from grammar.values import NUMBER_TYPES, Value, text_of

Position = tuple[float, float]
Geometry = dict[str, Any]

AREA_RADIUS = 6378137.0
RADIUS = 6371008.8
METRES_PER_DEGREE = 111325.0
DEPTH = {"Point": 0, "MultiPoint": 1, "LineString": 1, "MultiLineString": 2, "Polygon": 2, "MultiPolygon": 3}

_PER_METRE = {
    "kilometers": 1 / 1000,
    "miles": 1 / 1609.344,
    "meters": 1.0,
    "feet": 3.28084,
    "yards": 1 / 0.9144,
    "inches": 1 / 0.0254,
    "centimeters": 100.0,
    "millimeters": 1000.0,
    "nauticalmiles": 1 / 1852,
}
# How many of a unit one radian of arc is.
UNITS = {
    **{name: RADIUS * factor for name, factor in _PER_METRE.items()},
    **{name.replace("meters", "metres"): RADIUS * factor for name, factor in _PER_METRE.items()},
    "degrees": RADIUS / METRES_PER_DEGREE,
    "radians": 1.0,
}


def unit_of(name: Value) -> float:
    """Raises SqlError for an unknown unit."""
    factor = UNITS.get("kilometers" if name is None else text_of(name))
    if factor is None:
        raise SqlError(f"unknown unit '{text_of(name)}'")
    return factor


def parsed(value: Value) -> Value:
    """The value, or what its text says as JSON; None for nonsense."""
    if type(value) is not str:
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return None


def geometries(value: Value) -> list[Geometry]:
    """The plain geometries in a geometry, Feature or collection of either; none for nonsense."""
    found: list[Geometry] = []
    pending = [parsed(value)]
    while pending:
        each = pending.pop(0)
        if not isinstance(each, dict):
            continue
        match each.get("type"):
            case "Feature":
                pending.append(each.get("geometry"))
            case "FeatureCollection":
                pending.extend(_list(each.get("features")))
            case "GeometryCollection":
                pending.extend(_list(each.get("geometries")))
            case kind if kind in DEPTH and _well_formed(each.get("coordinates"), DEPTH[kind]):
                found.append(each)
    return found


def geometry(value: Value) -> Geometry | None:
    """The one geometry of a geometry or Feature."""
    found = geometries(value)
    return found[0] if len(found) == 1 else None


def point(value: Value) -> Position | None:
    """A bare [longitude, latitude], or the coordinates of a Point."""
    value = parsed(value)
    if isinstance(value, list):
        return (value[0], value[1]) if _well_formed(value, 0) else None
    found = geometry(value)
    return tuple(found["coordinates"][:2]) if found is not None and found["type"] == "Point" else None


def _list(value: Value) -> list[Value]:
    return value if isinstance(value, list) else []


def _well_formed(coordinates: Value, depth: int) -> bool:
    if not isinstance(coordinates, list):
        return False
    if depth == 0:
        return len(coordinates) >= 2 and all(type(each) in NUMBER_TYPES for each in coordinates)
    return all(_well_formed(each, depth - 1) for each in coordinates)


def arc(start: Position, end: Position) -> float:
    """The angle between two points in radians, by the haversine formula."""
    height, width = radians(end[1] - start[1]), radians(end[0] - start[0])
    chord = sin(height / 2) ** 2 + sin(width / 2) ** 2 * cos(radians(start[1])) * cos(radians(end[1]))
    return 2 * atan2(sqrt(chord), sqrt(1 - chord))


def lines(shape: Geometry) -> Iterator[list[Position]]:
    """The lines of a geometry, the rings of polygons among them."""
    coordinates = shape["coordinates"]
    match shape["type"]:
        case "LineString":
            yield coordinates
        case "MultiLineString" | "Polygon":
            yield from coordinates
        case "MultiPolygon":
            for polygon in coordinates:
                yield from polygon


def arc_length(shape: Geometry) -> float:
    return sum(arc(start, end) for line in lines(shape) for start, end in pairwise(line))


def area(shape: Geometry) -> float:
    """Square metres; holes are subtracted."""
    match shape["type"]:
        case "Polygon":
            return _polygon_area(shape["coordinates"])
        case "MultiPolygon":
            return sum(_polygon_area(polygon) for polygon in shape["coordinates"])
    return 0.0


def _polygon_area(rings: list[list[Position]]) -> float:
    if not rings:
        return 0.0
    return _ring_area(rings[0]) - sum(_ring_area(ring) for ring in rings[1:])


def _ring_area(ring: list[Position]) -> float:
    corners = ring[:-1] if len(ring) > 1 and ring[0] == ring[-1] else ring
    if len(corners) < 3:
        return 0.0
    total = 0.0
    for index, corner in enumerate(corners):
        before, after = corners[index - 1], corners[(index + 1) % len(corners)]
        total += radians(after[0] - before[0]) * sin(radians(corner[1]))
    return abs(total) * AREA_RADIUS**2 / 2


def destination(start: Position, angle: float, bearing: float) -> list[float]:
    """Where one arrives after `angle` radians of arc in the direction `bearing`, in radians clockwise from north."""
    longitude, latitude = radians(start[0]), radians(start[1])
    end = asin(sin(latitude) * cos(angle) + cos(latitude) * sin(angle) * cos(bearing))
    turn = atan2(sin(bearing) * sin(angle) * cos(latitude), cos(angle) - sin(latitude) * sin(end))
    return [degrees(longitude + turn), degrees(end)]


def circle(centre: Position, angle: float, corners: int) -> list[list[float]]:
    """A ring of so many corners, from the north anticlockwise, closed."""
    ring = [destination(centre, angle, -2 * pi * index / corners) for index in range(corners)]
    return [*ring, ring[0]]


def canonical(shape: Geometry, decimals: int = 6) -> Any:
    """A form that is equal for shapes that differ in rounding, start point, direction or order of parts only."""

    def rounded(positions: list[Position]) -> list[tuple[float, ...]]:
        return [tuple([round(each, decimals) + 0.0 for each in position]) for position in positions]

    def ring(positions: list[Position]) -> list[tuple[float, ...]]:
        corners = rounded(positions)
        corners = corners[:-1] if len(corners) > 1 and corners[0] == corners[-1] else corners
        turns = [order[start:] + order[:start] for order in (corners, corners[::-1]) for start in range(len(corners))]
        return min(turns, default=[])

    def line(positions: list[Position]) -> list[tuple[float, ...]]:
        one = rounded(positions)
        return min(one, one[::-1])

    coordinates = shape["coordinates"]
    match shape["type"]:
        case "Point":
            return rounded([coordinates])
        case "MultiPoint":
            return sorted(rounded(coordinates))
        case "LineString":
            return line(coordinates)
        case "MultiLineString":
            return sorted(map(line, coordinates))
        case "Polygon":
            return [ring(coordinates[0]) if coordinates else [], sorted(map(ring, coordinates[1:]))]
    return sorted([[ring(polygon[0]) if polygon else [], sorted(map(ring, polygon[1:]))] for polygon in coordinates])
