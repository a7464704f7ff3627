"""The geo functions. Numbers are null and tests false where an argument is null or no GeoJSON of the right kind."""

from __future__ import annotations

from typing import Any

import shapely
from shapely import GEOSException
from shapely.geometry import mapping, shape

from grammar.errors import SqlError
from grammar.functions.geometry import (
    DEPTH,
    Geometry,
    arc,
    arc_length,
    area,
    canonical,
    circle,
    geometries,
    geometry,
    parsed,
    point,
    unit_of,
)
from grammar.functions.signature import function
from grammar.values import Value, finite, number_of

CIRCLE_CORNERS = 64
# What a geometry of each type can contain.
CONTAINS = {
    "Point": {"Point"},
    "LineString": {"Point", "LineString"},
    "Polygon": {"Point", "MultiPoint", "LineString", "Polygon"},
    "MultiPolygon": {"Point", "MultiPoint", "LineString", "Polygon"},
}
TYPES = {name[0].lower() + name[1:]: name for name in DEPTH}


def geo_area(value: Value) -> Value:
    shapes = geometries(value)
    return finite(sum(map(area, shapes))) if shapes else None


def geo_length(value: Value, unit: Value = None) -> Value:
    factor, shapes = unit_of(unit), geometries(value)
    return finite(sum(map(arc_length, shapes)) * factor) if shapes else None


def geo_distance(first: Value, second: Value, unit: Value = None) -> Value:
    factor, start, end = unit_of(unit), point(first), point(second)
    return None if start is None or end is None else finite(arc(start, end) * factor)


def geo_near(first: Value, second: Value, limit: Value = None, unit: Value = None) -> bool:
    if limit is None:
        raise SqlError("distance is required")
    largest = number_of(limit)
    if largest is None:
        raise SqlError("distance must be a number")
    distance = geo_distance(first, second, unit)
    return distance is not None and distance <= largest


def geo_contains(first: Value, second: Value) -> bool:
    outer, inner = geometry(first), geometry(second)
    if outer is None or inner is None or inner["type"] not in CONTAINS.get(outer["type"], ()):
        return False
    parts = [outer]
    if outer["type"] == "MultiPolygon":
        parts = [{"type": "Polygon", "coordinates": polygon} for polygon in outer["coordinates"]]
    within = _shape(inner)
    return within is not None and any((each := _shape(part)) is not None and each.contains(within) for part in parts)


def geo_crosses(first: Value, second: Value) -> bool:
    one, other = _shape(geometry(first)), _shape(geometry(second))
    return one is not None and other is not None and bool(one.intersects(other))


def geo_equal(first: Value, second: Value) -> bool:
    one, other = geometry(first), geometry(second)
    if one is None or other is None or one["type"] != other["type"]:
        return False
    return bool(canonical(one) == canonical(other))


def geo_difference(first: Value, second: Value) -> Value:
    """A Feature with the first one's properties; null when nothing is left."""
    one, other = _shape(geometry(first)), _shape(geometry(second))
    if one is None or other is None:
        return None
    rest = one.difference(other)
    polygons = [each for each in getattr(rest, "geoms", [rest]) if each.geom_type == "Polygon" and not each.is_empty]
    if not polygons:
        return None
    source = parsed(first)
    properties = source.get("properties") if source.get("type") == "Feature" else None
    found = polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)
    return _feature(_lists(mapping(found)), properties or {})


def geo_circle(centre: Value, radius: Value, unit: Value = None) -> Value:
    factor, middle, size = unit_of(unit), point(centre), number_of(radius)
    if middle is None or size is None:
        return None
    return _feature({"type": "Polygon", "coordinates": [circle(middle, size / factor, CIRCLE_CORNERS)]}, {})


def geo_convert(coordinates: Value = None, kind: Value = None, properties: Value = None) -> Value:
    """Coordinates as a Feature; `properties` given as text stay one."""
    if coordinates is None:
        raise SqlError("coordinates is required")
    if kind is None:
        raise SqlError("geo_type is required")
    if kind not in TYPES:
        listed = "point,lineString,multiLineString,multiPoint,multiPolygon,polygon"
        raise SqlError(f"geoType of {kind} is invalid please use one of the following types: {listed}")
    found = parsed(coordinates)
    if not isinstance(found, list):
        return None
    return _feature({"type": TYPES[kind], "coordinates": found}, {} if properties is None else properties)


def _feature(shape: Any, properties: Value) -> dict[str, Value]:
    return {"type": "Feature", "properties": properties, "geometry": shape}


def _shape(plain: Geometry | None) -> Any:
    """A shapely geometry; None where the coordinates do not make one."""
    if plain is None:
        return None
    try:
        made = shape(plain)
        return made if made.is_valid else shapely.make_valid(made)
    except (GEOSException, ValueError, IndexError, TypeError):
        return None


def _lists(value: Any) -> Any:
    """Tuples as JSON arrays."""
    if isinstance(value, dict):
        return {key: _lists(each) for key, each in value.items()}
    return [_lists(each) for each in value] if isinstance(value, (list, tuple)) else value


FUNCTIONS = (
    function("GEOAREA", geo_area, 1),
    function("GEOLENGTH", geo_length, 1, 2, takes_null=True),
    function("GEODISTANCE", geo_distance, 2, 3, takes_null=True),
    function("GEONEAR", geo_near, 2, 4, takes_null=True),
    function("GEOCONTAINS", geo_contains, 2, takes_null=True),
    function("GEOCROSSES", geo_crosses, 2, takes_null=True),
    function("GEOEQUAL", geo_equal, 2, takes_null=True),
    function("GEODIFFERENCE", geo_difference, 2),
    function("GEOCIRCLE", geo_circle, 2, 3),
    function("GEOCONVERT", geo_convert, 0, 3, takes_null=True),
)
