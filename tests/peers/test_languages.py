"""One scenario script through the client of every language: the sidecar must say the same of each.

Parts marked (stub) show the SDK, the client and the sidecar against the documented wire answer; see test_in_progress.
`PEERS_LANGUAGES=python,node` takes only those languages; without it all five must be there.
"""

import itertools
from collections.abc import Callable, Iterator

import pytest

from conftest import HOST
from support.driver import Driver, languages
from support.process import wait_until
from support.scenarios import AWKWARD, SCENARIOS, Scenario, Stage, token
from support.sidecar import Sidecar

LANGUAGES = languages()
REGION = "eu-west-1"
APIS = ("dynamodb.TransactWriteItems", "dynamodb.ExecuteTransaction", "stripe", "http")


@pytest.fixture
def sidecar(start_sidecar: Callable[..., Sidecar]) -> Sidecar:
    """With a metrics label for every API of the scenarios."""
    return start_sidecar(*itertools.chain.from_iterable(("--api", api) for api in APIS))


@pytest.fixture
def start_driver(sidecar) -> Iterator[Callable[[str], Driver]]:
    started: list[Driver] = []

    def start(language: str) -> Driver:
        started.append(Driver(language, sidecar.socket, HOST))
        return started[-1]

    yield start
    for driver in started:
        driver.kill()


def partner_of(language: str) -> str:
    """Another language, so that a collision across clients is one across languages; itself if it is alone."""
    return LANGUAGES[(LANGUAGES.index(language) + 1) % len(LANGUAGES)]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_scenario_has_the_same_verdicts_in_every_language(
    sidecar, proxy, stub, counter, start_driver, language_table, scenario: Scenario, language: str
) -> None:
    driver = start_driver(language)
    language_table.sdks[language] = driver.sdk
    other = start_driver(partner_of(language)) if scenario.needs_other else None
    scenario.play(Stage(driver, proxy, stub, counter, other))
    expected = {"verdicts": scenario.verdicts, "attempts": scenario.attempts, "calls": scenario.calls}
    if "token_invalid" in scenario.verdicts:
        # A token that is not tracked has verdicts only; what its attempts count as is not specified.
        expected = {"verdicts": scenario.verdicts}
    findings = sidecar.expect(**expected)
    assert tuple(f["verdict"] for f in findings) == scenario.findings
    clients = {driver.client, *([other.client] if other else [])}
    for finding in findings:
        assert finding["client"] == driver.client
        # What the SDK knows of a token's namespace; the generic jobs give none.
        assert finding["scope"] == (REGION if finding["api"].startswith("dynamodb.") else "")
        assert finding.get("holder", {}).get("client") in {None, *clients}
    if driver.child.poll() is None:
        driver.finish()
    # The end of the process adds nothing: what was to be said has been said.
    sidecar.expect(**expected)


@pytest.mark.parametrize("operation", ["transact", "execute"])
def test_a_call_repeated_in_another_language_is_a_replay(
    sidecar, proxy, counter, start_driver, language_table, operation: str
) -> None:
    """Every ordered pair: only if both make the same fingerprint of it is the second call no parameter_mismatch."""
    drivers = [start_driver(language) for language in LANGUAGES]
    pairs = list(itertools.permutations(drivers, 2)) or [(drivers[0], drivers[0])]
    for number, (first, second) in enumerate(pairs):
        job = {"op": operation, "endpoint": proxy.url, "table": counter.table, "token": token()}
        # The identity differs, because the same INSERT under another token is cancelled.
        job |= {"identity": f"{number} {AWKWARD}"} if operation == "execute" else {"needs": None, "amount": number}
        for driver, applied in ((first, 2 * number + 1), (second, 2 * number + 2)):
            assert driver.run(**job) == "ok", f"{driver.language} of {first.language}, then {second.language}"
            # Each client gathers its events for a moment: those of the second call could overtake the first's.
            wait_until(lambda count=applied: sidecar.observed()["calls"]["applied"] == count, "the end of the call")
        language_table.replays.append((operation, first.language, second.language))
    findings = sidecar.expect(
        verdicts={"first_use": len(pairs), "replay": len(pairs)},
        attempts={"success": 2 * len(pairs)},
        calls={"applied": 2 * len(pairs)},
    )
    assert findings == []
