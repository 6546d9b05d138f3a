"""For which accounts, Regions and units a mapping is, told a second time by trying each place."""

from dataclasses import replace
from itertools import permutations, product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.mappings.impact import could_conflict
from rolekeeper.model.mapping import MappingSpec
from spec.carries import in_scope
from strategies.values import NOW, published

ACCOUNTS, REGIONS, UNITS = ("1", "2"), ("eu-1", "us-1"), ("ou-a", "ou-b")
# Each unit may be below each other one, and below one that no row names.
PATHS = [path for length in range(4) for path in permutations((*UNITS, "ou-new"), length)]
PLACES = list(product((*ACCOUNTS, "3"), (*REGIONS, "ap-1"), PATHS))


def sets(*choices: str) -> st.SearchStrategy[frozenset[str]]:
    return st.frozensets(st.sampled_from(choices), max_size=3)


scopes = st.fixed_dictionaries(
    {
        "accounts": sets(*ACCOUNTS),
        "not_accounts": sets(*ACCOUNTS),
        "regions": sets(*REGIONS),
        "units": sets(*UNITS, *(f"{each}/*" for each in UNITS)),
        "not_units": sets(*UNITS, *(f"{each}/*" for each in UNITS)),
    }
)


def spec(**scope: Any) -> MappingSpec:
    return published("workload=web", "web", **scope).spec


@given(scopes)
def test_a_mapping_covers_the_places_that_the_docs_say(scope: dict[str, Any]) -> None:
    for account, region, path in PLACES:
        told = in_scope(spec(**scope), account, region, path)
        assert spec(**scope).covers(account, region, "/".join(path)) == told, (account, region, path)


@given(scopes)
def test_where_the_unit_isnt_known_it_may_be_any(scope: dict[str, Any]) -> None:
    for account, region in product(ACCOUNTS, REGIONS):
        anywhere = replace(spec(**scope), units=frozenset(), not_units=frozenset())
        assert spec(**scope).covers(account, region, None) == anywhere.covers(account, region, "")


@given(scopes, scopes)
def test_two_could_conflict_where_some_place_is_in_the_scope_of_both(one: dict[str, Any], two: dict[str, Any]) -> None:
    exact, star = published("workload=web", "web", **one), published("workload=*", "api", **two)
    meet = any(in_scope(exact.spec, *place) and in_scope(star.spec, *place) for place in PLACES)
    assert could_conflict(exact, star, NOW) == could_conflict(star, exact, NOW) == meet
