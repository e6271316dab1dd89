"""What a reader sees of the demo, view by view, at 80x24 and at other sizes."""

import re

import pytest


def is_whole(screen, columns=80):
    """No row is longer than the terminal, and the frame around the view is there."""
    lines = screen.split("\n")
    assert all(len(line) <= columns for line in lines)
    assert lines[0].startswith("oncewatch ") and lines[0].endswith(" UTC")
    assert re.match(r"last 15 min: critical \d+  error \d+  warning \d+  healthy [\d ]+", lines[1]), lines[1]
    assert re.match(r"Trust: lower bounds . up .* window 10 min . gaps \d+ . drops \d+ . clients \d+", lines[-2]), lines[-2]


def test_now(demo, top):
    terminal = top(demo)
    screen = terminal.until("[1 Now]", "live", "YES: writes may have been applied twice.")
    is_whole(screen)
    assert re.search(r"recent +total +last 15 min, 20 s a column", screen)
    for label in ["critical", "error", "warning", "healthy"]:
        # Counts, then bars: the last columns hold what the demo has just done.
        assert re.search(rf"^{label} +[\d ]+ +[\d ]+ +[·▁▂▃▄▅▆▇█]+$", screen, re.M), label
    assert re.search(r"^> reuse_after_window +critical +\d+ +\d+ +.*[▁▂▃▄▅▆▇█]", screen, re.M)
    assert "first_use" not in screen
    terminal.keys("a", "G")
    terminal.until("verdict (all)", "> in_progress_local", "first_use", absent=["> reuse"])


def test_counts_go_on(demo, top):
    terminal = top(demo)
    healthy = lambda: int(re.search(r"^healthy +(\d[\d ]*?)  ", terminal.until("live"), re.M)[1].replace(" ", ""))
    before = healthy()
    terminal.keys("4")
    terminal.until("[4 Trust]")
    terminal.keys("1")
    from conftest import wait_for
    wait_for("more healthy uses", lambda: healthy() > before)


def test_findings(demo, top):
    terminal = top(demo)
    terminal.keys("2")
    screen = terminal.until("[2 Findings]", "Latest findings", "Do     ", "By     ", "Token  ")
    is_whole(screen)
    rows = re.findall(r"^[> ] (\d\d:\d\d:\d\d) (critical|error|warning) +([a-z_]+)", screen, re.M)
    assert len(rows) >= 6 and [at for at, *_ in rows] == sorted((at for at, *_ in rows), reverse=True)
    assert f"\n{rows[0][2]} ({rows[0][1]}" in screen, "the chosen one is shown in full"


def test_a_finding_is_found_explained_and_left(demo, top):
    terminal = top(demo)
    terminal.keys("2")
    terminal.until("Latest findings")
    terminal.keys("/")
    terminal.text("cross_client_coll")
    terminal.until("/cross_client_coll_")
    terminal.keys("Enter")
    screen = terminal.until("search cross_client_coll", "cross_client_collision (error", "Holder ")
    rows = re.findall(r"^[> ] \d\d:\d\d:\d\d error +(\w+)", screen, re.M)
    assert rows and set(rows) == {"cross_client_collision"}
    terminal.keys("e")
    terminal.until("cross_client_collision  error", "What to do", "Is it safe to retry?", "lines 1-")
    terminal.keys("G")
    terminal.until("How to fix", absent=["What to do"])
    terminal.keys("Escape")
    terminal.until("Latest findings  search cross")
    terminal.keys("Escape")
    terminal.until("Latest findings", absent=["search cross"])


def test_findings_by_severity_and_held(demo, top):
    terminal = top(demo)
    terminal.keys("2", "s")
    screen = terminal.until("severity critical")
    assert set(re.findall(r"^[> ] \d\d:\d\d:\d\d (\w+)", screen, re.M)) == {"critical"}
    terminal.keys("s", "s", "s", "p")
    held = terminal.until("HELD, 0 new: p goes on")
    chosen = re.search(r"^> .*", held, re.M)[0]
    # The demo goes on; the list does not.
    later = terminal.until("HELD", absent=["HELD, 0 new"])
    assert re.search(r"^> .*", later, re.M)[0] == chosen
    terminal.keys("p")
    terminal.until("Latest findings", absent=["HELD"])


def test_tokens_filter_search_sort_and_timeline(demo, top):
    terminal = top(demo)
    terminal.keys("3")
    screen = terminal.until("status: open or unknown", "*last seen", "1 to ")
    is_whole(screen)
    rows = re.findall(r"^[> ] ([0-9a-f]{16}) (\S+) +(open|unknown)(, stuck)? +\d+ ", screen, re.M)
    assert rows, screen
    terminal.keys("s", "s")
    screen = terminal.until("status: unknown", "1 to ")
    assert not re.search(r"^[> ] [0-9a-f]{16} \S+ +(open|succeeded)", screen, re.M)
    token = re.search(r"^> ([0-9a-f]{16})", screen, re.M)[1]
    terminal.keys("S", "/")
    terminal.text(token)
    terminal.keys("Enter")
    screen = terminal.until(f"status: all  search: {token}", "1 to 1 of 1", f"> {token}")
    terminal.keys("Enter")
    screen = terminal.until(f"Token {token}", "Rules window", "#1 ", "lease", "scale: ")
    is_whole(screen)
    assert re.search(r"^  .*[█▒░═].*", screen, re.M), "an attempt is drawn"
    before = re.search(r"scale: (.*)", screen)[1]
    terminal.keys("z")
    terminal.until("scale: ", absent=[f"scale: {before}"])
    terminal.keys("e")
    terminal.until("first_use  info", "What was seen")
    terminal.keys("Escape")
    terminal.until(f"Token {token}")
    terminal.keys("Escape")
    terminal.until("1 to 1 of 1")
    terminal.keys("/")
    terminal.keys("C-u")
    terminal.text("no such token")
    terminal.keys("Enter")
    terminal.until("No token matches the search.")
    terminal.keys("Escape")
    # A key that follows at once would be one with Alt.
    terminal.until("status: all", absent=["search: "])
    terminal.keys("o", "o", "r")
    screen = terminal.until("sort: attempts, up", "*attempts", "1 to ")
    numbers = [int(n) for n in re.findall(r"^[> ] [0-9a-f]{16} .* (\d+) +[\d.]+ \w+ +[\d.]+ \w+$", screen, re.M)]
    assert len(numbers) > 5 and numbers == sorted(numbers)


def test_a_double_execution_is_on_its_timeline(demo, top):
    terminal = top(demo)
    terminal.keys("2", "/")
    terminal.text("double_execution")
    terminal.keys("Enter")
    terminal.until("search double_execution", "double_execution (critical")
    terminal.keys("Enter")
    screen = terminal.until("Token ", "What was found about it", "critical double_execution")
    assert "◆" in screen and "gap " in screen and "reuse_after_window" in screen
    assert re.search(r"^  ·+", screen, re.M), "the gap is drawn"
    if "scale: attempts" in screen:
        terminal.keys("z")
        screen = terminal.until("scale: whole window")
    assert re.search(r"^  ━+┫ +━+ window ━+╍*┫", screen, re.M), "both windows are drawn, and the time between them"


def test_trust_and_help(demo, top):
    terminal = top(demo)
    terminal.keys("4")
    screen = terminal.until("counts are lower bounds until one", "Clients connected     5", "Watching since", "Version")
    is_whole(screen)
    assert re.search(r"^dynamodb.TransactWriteItems +10 min +in \d+ min", screen, re.M)
    assert re.search(r"^demo.Checkout +4.0 s +yes", screen, re.M)
    for title in ["Tracking gaps", "Dropped", "Events rejected", "Connections refused"]:
        assert re.search(rf"^{title} +\S", screen, re.M), title
    terminal.keys("?")
    terminal.until("Keys", "q, ctrl-c      quit", "ctrl-z")
    terminal.keys("?")
    terminal.until("Watching since", absent=["ctrl-z"])


def test_keys_of_all_kinds_turn_the_views(demo, top):
    terminal = top(demo)
    for key, title in [("Tab", "[2 Findings]"), ("Right", "[3 Tokens]"), ("Tab", "[4 Trust]"), ("Tab", "[1 Now]"),
                       ("BTab", "[4 Trust]"), ("Left", "[3 Tokens]"), ("2", "[2 Findings]")]:
        terminal.keys(key)
        terminal.until(title)
    row = lambda: next(i for i, line in enumerate(terminal.lines()) if line.startswith("> "))
    terminal.keys("p", "g")
    terminal.until("HELD")
    first = row()
    for key, expected in [("j", 1), ("Down", 2), ("k", 1), ("Up", 0), ("NPage", None), ("Home", 0), ("End", None), ("g", 0)]:
        terminal.keys(key)
        if expected is None:
            terminal.until("\n  ", absent=[])
        else:
            from conftest import wait_for
            wait_for(lambda: f"row {expected} after {key}\n{terminal.screen()}", lambda: row() - first == expected)


@pytest.mark.parametrize("columns,rows", [(40, 12), (60, 15), (132, 43), (200, 50)])
def test_other_sizes(demo, top, columns, rows):
    terminal = top(demo, columns, rows)
    for key, part in [("1", "YES: writes"), ("2", "Do "), ("3", "status: "), ("4", "lower bounds")]:
        terminal.keys(key)
        screen = terminal.until(part, "live")
        lines = screen.split("\n")
        assert len(lines) == rows and all(len(line) <= columns for line in lines)
        assert "q quit" in lines[-1]
    if columns >= 132:
        terminal.keys("2")
        terminal.until("│ ")


def test_a_resized_terminal_is_used(demo, top):
    terminal = top(demo)
    terminal.until("live")
    terminal.resize(120, 40)
    # More rows than before hold the latest findings.
    screen = terminal.until("Latest findings", "q quit")
    assert len(screen.split("\n")) == 40 and "q quit" in screen.split("\n")[-1]
    terminal.resize(40, 12)
    screen = terminal.until("? help  q quit")
    assert len(screen.split("\n")) == 12
    terminal.resize(3, 2)
    terminal.until("on")
    terminal.resize(80, 24)
    is_whole(terminal.until("oncewatch [1 Now]", "recent"))


@pytest.mark.parametrize("variables,has_colour,has_unicode", [
    ({}, True, True),
    ({"NO_COLOR": "1"}, False, True),
    ({"TERM": "vt100"}, False, False),
    ({"TERM": "dumb"}, False, False),
    ({"LANG": "C"}, True, False),
])
def test_words_carry_the_meaning(demo, top, variables, has_colour, has_unicode):
    terminal = top(demo, **variables)
    for key, part in [("1", "critical"), ("2", "Do "), ("3", "1 to "), ("Enter", "lease"), ("4", "lower bounds")]:
        terminal.keys(key)
        screen = terminal.until(part, "live")
        assert screen.isascii() != has_unicode or key == "3", screen
        if key != "3":
            coloured = terminal.tmux("capture-pane", "-p", "-e")
            colours = re.findall(r"\x1b\[(?:\d+;)*(3[0-7]|4[0-7]|9[0-7]|[34]8[;:])", coloured)
            assert bool(colours) == has_colour, (key, colours)
    assert re.search(r"^Trust: lower bounds", screen, re.M)
