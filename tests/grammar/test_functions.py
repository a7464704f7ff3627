"""The scalar and aggregate functions, against the values that the reference gives."""

from __future__ import annotations

import math

import pytest

NUMBERS = [
    ("1 + 2 * 3", 7), ("7 / 2", 3.5), ("6 / 3", 2), ("1 / 0", None), ("0 / 0", None), ("-7 % 3", -1), ("7.5 % 2", 1.5),
    ("5 % 0", None), ("- -2", 2), ("2 ^ 3", 1), ("6 & 3", 2), ("6 | 1", 7), ("1 << 3", 8), ("-8 >> 1", -4), ("~5", -6),
    ("1 + null", None), ("'5' + 3", "53"), ("'x' + true", "xtrue"), ("true + 1", 2), ("'5' * 3", 15), ("'x' * 3", None),
    ("0 || 'a'", "0a"), ("NULL || 'a'", "a"), ("false || ''", "false"), ("1 || 2 + 3", "123"), ("1.50 || ''", "1.5"),
    ("9223372036854775807 + 0", 2**63 - 1), ("9223372036854775807 * 3", float(2**63 - 1) * 3), ("1e308 * 10", None),
    ("ABS(-3)", 3), ("CEIL(1.2)", 2), ("CEILING(-1.2)", -1), ("FLOOR(-1.8)", -2), ("SQRT(16)", 4), ("SQRT(-1)", None),
    ("EXP(0)", 1), ("ROUND(2.5)", 3), ("ROUND(-2.5)", -2), ("ROUND(2.345, 2)", 2.35), ("ROUND(-2.345, 2)", -2.35),
    ("ROUND(1.005, 2)", 1), ("ROUND(1234, -2)", 1200), ("ROUND(null)", None), ("ROUND('2.5')", 3), ("ABS('x')", None),
    ("POWER(0, 0)", 1), ("POW(2, 10)", 1024), ("POWER(-8, 1/3)", None), ("MOD(-7, 3)", -1), ("SIGN(-2)", -1),
    ("TRUNC(-2.7)", -2), ("TRUNC(2.789, 2)", 2.78), ("LOG10(1000)", 3), ("LOG(100)", 2), ("LN(1)", 0), ("LOG2(8)", 3),
    ("ROUND(PI(), 4)", 3.1416), ("DEGREES(PI())", 180), ("ATAN2(1, 1) * 4 = PI()", True), ("LN(0)", None),
    ("GREATEST(1, null, 3)", 3), ("LEAST(4, 'a', 2)", 2), ("GREATEST(null, null)", None), ("MAX(1, 5, 3)", 5),
    ("MIN(2, 1)", 1),
]  # fmt: skip
TEXTS = [
    ("UPPER('äß')", "ÄSS"), ("LCASE('ABC')", "abc"), ("UPPER(5)", "5"), ("UPPER(true)", "TRUE"), ("UPPER(null)", None),
    ("LEN('日本')", 2), ("LENGTH('😀')", 1), ("LEN(12.5)", 4), ("LEN(@[1, 2, 3])", 3), ("LEN(null)", None),
    ("TRIM('  x\t')", "x"), ("LTRIM('  x ')", "x "), ("RTRIM(' x  ')", " x"), ("TRIM('x' FROM 'xxax')", "a"),
    ("TRIM(LEADING 'x' FROM 'xxax')", "ax"), ("TRIM(TRAILING FROM ' a ')", " a"), ("TRIM(BOTH FROM ' a ')", "a"),
    ("SUBSTRING('abcdef', 2, 3)", "bcd"), ("SUBSTR('abcdef', 4)", "def"), ("MID('abcdef', -2)", "ef"),
    ("SUBSTR('abc', 0, 2)", "a"), ("SUBSTR('abc', 9)", ""), ("SUBSTR('abc', 1, 0)", ""), ("SUBSTR(12345, 2, 2)", "23"),
    ("INSTR('banana', 'an')", 2), ("INSTR('banana', 'z')", 0), ("INSTR('a', '')", 1), ("INSTR('aA', 'A')", 2),
    ("REPLACE('banana', 'a', 'o')", "bonono"), ("REPLACE('abc', '', '-')", "abc"), ("REPLACE('a', null, 'b')", None),
    ("CONCAT('a', null, 1, true)", "a1true"), ("CONCAT()", ""), ("CONCAT(@[1, 2])", "1,2"),
    ("CONCAT(@{\"a\": 1})", '{"a":1}'),
    ("CONCAT_WS('-', 'a', null, '', 'b')", "a--b"), ("CONCAT_WS(null, 'a')", None), ("CHAR(72, 105)", "Hi"),
    ("ASCII('A')", 65),
    ("REVERSE('abc')", "cba"), ("LPAD('7', 3, '0')", "007"), ("RPAD('ab', 5, 'xy')", "abxyx"), ("LPAD('abc', 2)", "ab"),
    ("CHAR_LENGTH('abc')", 3), ("SPACE(3)", "   "), ("TYPEOF(null)", "null"), ("TYPEOF(@[1])", "array"),
    ("TYPEOF(1.5)", "number"),
    ("LEN(UUID())", 36), ("1e21 || ''", "1e+21"), ("1e-7 || ''", "1e-7"), ("0.000001 || ''", "0.000001"),
    ("123456789012345680000 || ''", "123456789012345680000"),
]  # fmt: skip
LOGIC = [
    ("IF(0, 'a', 'b')", "b"), ("IIF('', 'a', 'b')", "b"), ("IF(null, 1, 2)", 2), ("IF(1 > 0, 1, 2)", 1),
    ("IFNULL(null, 5)", 5),
    ("IFNULL(0, 5)", 0), ("COALESCE(null, null, '')", ""), ("COALESCE(null)", None), ("NULLIF(1, 1)", None),
    ("NULLIF(1, '1')", 1),
    ("ISNULL(null, 3)", 3), ("DISTINCT_ARRAY(@[1, 2, 1, null, null])", [1, 2, None]), ("DISTINCT_ARRAY('x')", "x"),
    ("CAST('12.7' AS INT)", 12), ("CAST(-12.7 AS INTEGER)", -12), ("CAST(true AS INT)", 1), ("CAST('x' AS INT)", 0),
    ("CAST(3000000000 AS INT)", 3000000000), ("CAST('x' AS FLOAT)", None), ("CAST(12.567 AS DECIMAL(10,2))", 12.57),
    ("CAST(1234.5 AS NUMERIC(2))", 1200), ("CAST(12.345 AS MONEY)", 12.34), ("CAST(5 AS STRING)", "5"),
    ("'abcdef'::VARCHAR(3)", "abc"),
    ("CAST('ab' AS CHAR(4))", "ab  "), ("CAST('false' AS BOOLEAN)", False), ("CAST('no' AS BOOL)", True),
    ("CAST(0 AS BIT)", False),
    ("CAST('[1, {\"a\": null}]' AS JSON)", [1, {"a": None}]), ("CAST(null AS INT)", None), ("CONVERT(INT, '15')", 15),
    ("CAST('2020-02-29' AS DATE)", "20.02.29"), ("CAST(1587568845765 AS DATETIME)", "2020.04.22 15:20:45.765"),
    ("CONVERT(VARCHAR(10), '20200229', 1)", "02/29/20"), ("CONVERT(STRING, '2020-02-29', 106)", "29 feb 2020"),
    ("CONVERT(STRING, '2020-02-29', 107)", "Feb 29,2020"), ("CONVERT(STRING, '2020-02-29T01:02:03Z', 108)", "01:02:03"),
    ("CONVERT(STRING, 'x', 1)", "Invalid date"),
]  # fmt: skip
DATES = [
    ("DATE(0)", "1970-01-01T00:00:00.000+0000"), ("DATE('2020-02')", "2020-02-01T00:00:00.000+0000"),
    ("DATE(null)", None),
    ("DATE('20200229')", "2020-02-29T00:00:00.000+0000"),
    ("DATE('2020-02-29T10:00:00+05:30')", "2020-02-29T04:30:00.000+0000"),
    ("DATE('Sat, 29 Feb 2020 10:00:00 +0200')", "2020-02-29T08:00:00.000+0000"),
    ("DATE('29 Feb 2020')", "2020-02-29T00:00:00.000+0000"),
    ("DATE('nonsense')", "Invalid date"), ("DATE('1587568845765')", "Invalid date"),
    ("DATE('2020-02-30')", "Invalid date"),
    ("DATE_ADD('2020-01-31', 1, 'months')", 1582934400000), ("DATE_ADD('2020-01-31', 1, 'M')", 1582934400000),
    ("DATE_ADD(0, 1, 'm')", 60000), ("DATE_ADD(0, 1)", 1), ("DATE_ADD(0, 1.5, 'days')", 172800000),
    ("DATE_ADD(0, 1.5, 'HOURS')", 5400000),
    ("DATE_ADD('x', 1, 'd')", None), ("DATE_SUB('2020-03-31', 1, 'month')", 1582934400000),
    ("DATE_ADD('2020-02-29', 1, 'Q')", 1590710400000),
    ("DATE_DIFF('2020-03-15', '2020-01-01', 'months')", 2.4516129032258065),
    ("DATE_DIFF('2020-01-01', '2020-03-15', 'months')", -2.4516129032258065),
    ("DATE_DIFF('2021-01-01', '2020-01-01', 'quarters')", 4), ("DATEDIFF('2020-01-03', '2020-01-01', 'd')", 2),
    ("DATE_DIFF('x', 0)", None),
    ("DATE_FORMAT(0)", "1970-01-01T00:00:00Z"), ("DATE_FORMAT('x', 'YYYY')", "Invalid date"),
    ("EXTRACT('2020-03-26T15:13:02.041Z', 'MONTH')", "03"), ("EXTRACT(YEAR FROM '2020-03-26')", "2020"),
    ("EXTRACT(0, 'century')", None),
    ("OFFSET_UTC(0, -5)", "1969-12-31T19:00:00.000-0500"), ("OFFSET_UTC(0, 5.5)", "1970-01-01T05:30:00.000+0530"),
    ("OFFSET_UTC(0, '+05:30')", "1970-01-01T05:30:00.000+0530"), ("OFFSET_UTC(0, 240)", "1970-01-01T04:00:00.000+0400"),
    ("DAYOFWEEK('2020-03-01')", 0), ("WEEKDAY('2020-03-07')", 6), ("DAYOFMONTH('2020-03-07')", 7),
    ("HOUR('2020-03-07T08:09:10Z')", 8),
    ("YEAR('x')", None), ("NOW() = GETDATE()", True), ("NOW() = CURRENT_TIMESTAMP", True),
    ("CURRENT_DATE = CURDATE()", True),
]  # fmt: skip
FORMATS = {
    "M Mo MM MMM MMMM": "4 4th 04 Apr April",
    "Q Qo": "2 2nd",
    "D Do DD": "22 22nd 22",
    "DDD DDDo DDDD": "113 113th 113",
    "d do dd ddd dddd e E": "3 3rd We Wed Wednesday 3 3",
    "w wo ww W Wo WW": "17 17th 17 17 17th 17",
    "YY YYYY Y YYYYYY y": "20 2020 2020 +002020 2020",
    "gg gggg GG GGGG": "20 2020 20 2020",
    "N NN NNN NNNN NNNNN": "AD AD AD Anno Domini AD",
    "A a H HH h hh k kk": "PM pm 15 15 3 03 15 15",
    "m mm s ss": "20 20 45 45",
    "S SS SSS SSSSS": "7 76 765 76500",
    "z zz Z ZZ": "UTC Coordinated Universal Time +00:00 +0000",
    "X x": "1587568845 1587568845765",
    "LT LTS": "3:20 PM 3:20:45 PM",
    "L l": "04/22/2020 4/22/2020",
    "LL; ll": "April 22, 2020; Apr 22, 2020",
    "LLL": "April 22, 2020 3:20 PM",
    "LLLL": "Wednesday, April 22, 2020 3:20 PM",
    "llll": "Wed, Apr 22, 2020 3:20 PM",
    "[YYYY] \\YYYY u": "YYYY YYYY u",
}


@pytest.mark.parametrize(("expression", "expected"), NUMBERS + TEXTS + LOGIC + DATES)
def test_the_value_of_an_expression(value, expression, expected):
    found = value(expression)
    assert found == expected
    assert type(found) is type(expected) or isinstance(found, (int, float))


@pytest.mark.parametrize("layout", FORMATS)
def test_date_format(value, layout):
    assert value(f"DATE_FORMAT('2020-04-22T15:20:45.765Z', '{layout}')") == FORMATS[layout]


@pytest.mark.parametrize(
    ("day", "expected"),
    [("2020-12-31", "1 2021 53 2020"), ("2021-01-03", "2 2021 53 2020"), ("9999-12-31", "53 9999 52 9999")],
)
def test_weeks_at_the_turn_of_the_year(value, day, expected):
    assert value(f"DATE_FORMAT('{day}', 'w gggg W GGGG')") == expected


@pytest.mark.parametrize(
    "number", [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (13, "13th"), (21, "21st"), (30, "30th")]
)
def test_ordinals(value, number):
    assert value(f"DATE_FORMAT('2020-01-{number[0]:02}', 'Do')") == number[1]


def test_whole_results_are_integers(value):
    for expression in ("6 / 3", "2.5 * 2", "SQRT(16)", "ROUND(2.4)", "POWER(2, 3)", "1e3", "5.0", "CAST('7' AS FLOAT)"):
        assert type(value(expression)) is int, expression


def test_random_is_new_for_each_row_and_now_is_not(kennel, run):
    rows = run("SELECT RANDOM() AS r, RANDOM(10) AS n, NOW() AS t FROM farm.dog")
    assert len({row["r"] for row in rows}) == 5
    assert all(0 <= row["r"] < 1 and row["n"] in range(10) for row in rows)
    assert len({row["t"] for row in rows}) == 1


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT DATE_ADD(0, 1, 'foo')", "unknown interval 'foo'"),
        ("SELECT OFFSET_UTC(0)", "function OFFSET_UTC takes 2 arguments, 1 given"),
        ("SELECT CONVERT(STRING, 0, 99)", "unknown CONVERT style 99"),
        ("SELECT CAST('{' AS JSON)", "'{' is no JSON"),
        ("SELECT SPACE(1e12)", "A text of 1000000000000 characters is too long."),
        ("SELECT CURRENT_TIMESTAMP()", "CURRENT_TIMESTAMP takes no brackets"),
        ("SELECT LEFT('abc', 2)", "Invalid SQL at: "),
        ("SELECT REPEAT('a', 3)", "unknown function 'REPEAT'"),
    ],
)
def test_what_a_function_cannot_do(error, sql, text):
    assert error(sql).startswith(text)


class TestAggregates:
    @pytest.fixture
    def reduce(self, node, run):
        values = [4, None, 2, "x", 2, 9, 2.5, [1], True]
        node.create_table("a", "t").insert(
            [{"id": i, "v": v, "n": v if type(v) in (int, float) else None} for i, v in enumerate(values)]
        )
        return lambda call, where="": run(f"SELECT {call} AS r FROM a.t {where}")[0]["r"]

    @pytest.mark.parametrize(
        ("call", "expected"),
        [
            ("COUNT(*)", 9), ("COUNT(1)", 9), ("COUNT(v)", 8), ("COUNT(DISTINCT v)", 7), ("SUM(v)", 19.5),
            ("SUM(DISTINCT v)", 17.5),
            ("AVG(v)", 3.9), ("MEAN(v)", 3.9), ("MIN(v)", True), ("MAX(v)", "x"), ("MIN(n)", 2), ("MAX(n)", 9),
            ("MEDIAN(v)", 2.5),
            ("MEDIAN(DISTINCT n)", 3.25), ("MODE(v)", [2]), ("PROD(n)", 360), ("MAD(n)", 0.5), ("VAR(n)", 8.8),
            ("VARP(n)", 7.04),
            ("STDEV(n)", math.sqrt(8.8)), ("STDDEV(n)", math.sqrt(7.04)), ("QUART(n)", 2), ("QUART2(n)", 2.5),
            ("QUART3(n)", 9),
            ("FIRST(v)", 4), ("LAST(v)", True), ("GROUP_CONCAT(n)", "4,2,2,9,2.5"),
            ("GROUP_CONCAT(DISTINCT n, '|')", "4|2|9|2.5"),
            ("ARRAY(n)", [4, None, 2, None, 2, 9, 2.5, None, None]), ("DISTINCT_ARRAY(ARRAY(n))", [4, None, 2, 9, 2.5]),
        ],
    )  # fmt: skip
    def test_over_all_rows(self, reduce, call, expected):
        assert reduce(call) == (pytest.approx(expected) if isinstance(expected, float) else expected)

    @pytest.mark.parametrize(
        ("call", "without_rows", "without_values"),
        [
            ("COUNT(n)", 0, 0), ("SUM(n)", 0, None), ("AVG(n)", None, None), ("MIN(n)", None, None),
            ("MAX(n)", None, None),
            ("MEDIAN(n)", None, None), ("MODE(n)", None, None), ("PROD(n)", None, None), ("VAR(n)", None, None),
            ("STDDEV(n)", None, None), ("GROUP_CONCAT(n)", None, None), ("ARRAY(n)", [], [None]),
            ("FIRST(n)", None, None),
        ],
    )  # fmt: skip
    def test_without_rows_and_without_values(self, reduce, call, without_rows, without_values):
        assert reduce(call, "WHERE id > 99") == without_rows
        assert reduce(call, "WHERE id = 1") == without_values

    def test_a_sample_of_one_has_no_spread(self, reduce):
        assert reduce("VAR(n)", "WHERE id = 0") == 0


class TestSearchJson:
    @pytest.fixture(autouse=True)
    def movie(self, node):
        cast = [{"name": "Al", "order": 0}, {"name": "Val", "order": 1}]
        node.create_table("a", "movie").insert([{"id": 1, "cast": cast, "tags": ["fun"]}, {"id": 2}])

    @pytest.mark.parametrize(
        ("expression", "expected"),
        [
            ("$[name=\"Al\"].order", 0), ("$count($)", 2), ("$sum(order)", 1), ("$.name", ["Al", "Val"]),
            ("$[order > 5]", None),
            ("$[0]", {"name": "Al", "order": 0}), ("$join(name, \"+\")", "Al+Val"), ("$average(order)", 0.5),
            ("\"Al\" in name", True), ("$[name ~> /^v/i].order", 1), ("$match($[0].name, /l/).index", 1),
            ("$replace($[0].name, /a/i, \"O\")", "Ol"), ("$split($[1].name, /a/)", ["V", "l"]),
        ],
    )  # fmt: skip
    def test_expressions(self, run, expression, expected):
        rows = run(f"SELECT SEARCH_JSON('{expression}', `cast`) AS r FROM a.movie ORDER BY id")
        assert rows == [{"r": expected}, {"r": None}]

    def test_in_a_condition(self, run):
        assert run("SELECT id FROM a.movie WHERE SEARCH_JSON('\"fun\" in $', tags)") == [{"id": 1}]

    @pytest.mark.parametrize(
        "expression", ["$[", "", '$eval("1")', "($f := function($x){$f($x + 1)}; $f(1))", "[1..1e9]", '$error("x")']
    )
    def test_bad_and_endless_expressions_are_refused(self, error, expression):
        assert "SEARCH_JSON" in error(f"SELECT SEARCH_JSON('{expression}', `cast`) FROM a.movie")


SQUARE = '{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,1],[0,0]]]}'
TURNED = '{"type":"Polygon","coordinates":[[[1,1],[1,0],[0,0],[0,1],[1,1]]]}'
RING = '{"type":"Polygon","coordinates":[[[0,0],[4,0],[4,4],[0,4],[0,0]],[[1,1],[2,1],[2,2],[1,2],[1,1]]]}'
TWO = '{"type":"MultiPolygon","coordinates":[[[[0,0],[1,0],[1,1],[0,1],[0,0]]],[[[5,5],[6,5],[6,6],[5,6],[5,5]]]]}'
FEATURE = f'{{"type":"Feature","properties":{{}},"geometry":{SQUARE}}}'
LINE = '{"type":"LineString","coordinates":[[0,0],[2,2]]}'


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (f"geoArea('{SQUARE}')", 12391399902.071104),
        (f"geoArea('{LINE}')", 0),
        (f"geoArea('{RING}')", 198_200_000_000 - 12_385_000_000),
        (f"geoArea('{TWO}')", 12_391_399_902 + 12_334_000_000),
        (f'geoArea(\'{{"type":"FeatureCollection","features":[{FEATURE},{FEATURE}]}}\')', 2 * 12391399902.071104),
        (f"geoLength('{SQUARE}')", 444.763),
        (f"geoLength('{TWO}') > geoLength('{FEATURE}')", True),
        (f"geoDifference('{RING}', '{SQUARE}')->geometry->type", "Polygon"),
        (f"geoDifference('{TWO}', '{LINE}')->geometry->type", "MultiPolygon"),
        (f"geoEqual('{TWO}', '{TWO}')", True),
        (f'geoEqual(\'{LINE}\', \'{{"type":"LineString","coordinates":[[2,2],[0,0.0000001]]}}\')', True),
        (f"geoEqual('{LINE}', '{SQUARE}')", False),
        ("geoCircle('x', 5)", None),
        ("geoArea('nonsense')", None),
        ("geoArea(null)", None),
        (f"geoLength('{LINE}', 'radians')", 0.0493604),
        ("geoDistance('[0,0]', '[0,1]')", 111.195080),
        ("geoDistance('[0,0]', '[0,1]', 'degrees')", 0.998833),
        ("geoDistance('[0,0]', '[0,1]', 'metres')", 111195.080),
        ("geoDistance('[0,0]', 'x')", None),
        ("geoNear('[0,0]', '[0,1]', 112)", True),
        ("geoNear('[0,0]', '[0,1]', '70', 'miles')", True),
        ("geoNear('[0,0]', null, 70)", False),
        (f'geoContains(\'{SQUARE}\', \'{{"type":"Point","coordinates":[0.5,0.5]}}\')', True),
        (f'geoContains(\'{SQUARE}\', \'{{"type":"Point","coordinates":[0,0.5]}}\')', False),
        (f'geoContains(\'{RING}\', \'{{"type":"Point","coordinates":[1.5,1.5]}}\')', False),
        (f"geoContains('{SQUARE}', '{TURNED}')", True),
        (f'geoContains(\'{TWO}\', \'{{"type":"Point","coordinates":[5.5,5.5]}}\')', True),
        (f'geoContains(\'{LINE}\', \'{{"type":"Point","coordinates":[0,0]}}\')', False),
        (f'geoContains(\'{LINE}\', \'{{"type":"Point","coordinates":[1,1]}}\')', True),
        (f"geoContains('{LINE}', '{SQUARE}')", False),
        (f"geoCrosses('{SQUARE}', '{LINE}')", True),
        (f'geoCrosses(\'{SQUARE}\', \'{{"type":"Point","coordinates":[3,3]}}\')', False),
        (f"geoEqual('{SQUARE}', '{TURNED}')", True),
        ("geoEqual('[0,0]', '[0,0]')", False),
        (f"geoDifference('{SQUARE}', '{SQUARE}')", None),
        ("LEN(geoCircle('[10,50]', 5)->geometry->coordinates->0)", 65),
        ("geoConvert('[1,2]', 'point')->geometry->type", "Point"),
    ],
)
def test_geo_functions(value, call, expected):
    found = value(call)
    assert found == (
        pytest.approx(expected, rel=1e-3 if isinstance(expected, int) else 1e-5)
        if type(expected) in (int, float)
        else expected
    )


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("geoNear('[0,0]', '[0,1]', null)", "distance is required"),
        ("geoNear('[0,0]', '[0,1]', 'far')", "distance must be a number"),
        ("geoDistance('[0,0]', '[0,1]', 'parsec')", "unknown unit 'parsec'"),
        ("geoConvert(null, 'point')", "coordinates is required"),
        ("geoConvert('[1,2]')", "geo_type is required"),
        ("geoConvert('[1,2]', 'circle')", "geoType of circle is invalid please use one of the following types: "),
    ],
)
def test_what_the_geo_functions_refuse(error, call, text):
    assert error(f"SELECT {call}").startswith(text)
