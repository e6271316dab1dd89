"""Building blocks of the dashboards: panels with the house's defaults, variables, links, annotations.

The output is Grafana's dashboard JSON (schema version 42). Every helper takes the description and the
thresholds as required arguments, because a panel without them does not say what to do.
"""

import json
from urllib.parse import quote

PROMETHEUS = {"type": "prometheus", "uid": "${prometheus_datasource}"}
TRACES = {"type": "tempo", "uid": "${tempo_datasource}"}
SCHEMA_VERSION = 42
GRID_COLUMNS = 24
# From this width on there is room for a legend with numbers beside the graph.
WIDE_COLUMNS = 12

# What a link to another dashboard carries beside the time range.
VARIABLES = ("prometheus_datasource", "tempo_datasource", "cluster", "namespace", "service", "job", "instance", "api")


def steps(*pairs):
    """Thresholds from (lower bound, colour); the first bound is None."""
    return {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in pairs]}


NEUTRAL = steps((None, "blue"))
ZERO_IS_GOOD = steps((None, "green"), (1, "red"))
ZERO_IS_GOOD_WARN = steps((None, "green"), (1, "orange"))
# A rate or a share has no smallest value above zero: anything visible counts.
ANY_IS_BAD = steps((None, "green"), (1e-9, "red"))
ANY_IS_ODD = steps((None, "green"), (1e-9, "orange"))


def query(expr, legend="", *, instant=False, table=False, heatmap=False, exemplar=False, ref="A"):
    target = {
        "refId": ref,
        "datasource": PROMETHEUS,
        "editorMode": "code",
        "expr": expr,
        "instant": instant,
        "range": not instant,
        "format": "table" if table else "heatmap" if heatmap else "time_series",
        "legendFormat": legend or "__auto",
    }
    if exemplar:
        target["exemplar"] = True
    return target


def targets(queries):
    """Gives each query its letter."""
    return [{**one, "refId": chr(ord("A") + index)} for index, one in enumerate(queries)]


def panel(kind, title, description, queries, defaults, options, *, overrides=(), links=(), transformations=()):
    made = {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": PROMETHEUS,
        "targets": targets(queries),
        "fieldConfig": {"defaults": defaults, "overrides": list(overrides)},
        "options": options,
    }
    if links:
        made["links"] = list(links)
    if transformations:
        made["transformations"] = list(transformations)
    return made


def stat(title, description, expr, thresholds, *, unit="short", decimals=0, links=()):
    """One number that is coloured as a whole; 0 where there is nothing to count."""
    defaults = {
        "unit": unit,
        "decimals": decimals,
        "noValue": "0",
        "color": {"mode": "thresholds"},
        "thresholds": thresholds,
        "mappings": [],
    }
    options = {
        "colorMode": "background",
        "graphMode": "none",
        "justifyMode": "center",
        "orientation": "auto",
        "percentChangeColorMode": "standard",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showPercentChange": False,
        "textMode": "value",
        "wideLayout": True,
    }
    return panel("stat", title, description, [query(expr, instant=True)], defaults, options, links=links)


def graph(title, description, queries, thresholds, *, unit, stacked=False, line=False, log=False, maximum=None,
          colors=None, links=(), decimals=None):
    """Lines over time. `line` draws the thresholds; `colors` fixes the colour of series by name."""
    custom = {
        "drawStyle": "line",
        "lineInterpolation": "stepAfter" if stacked else "linear",
        "lineWidth": 1 if stacked else 2,
        "fillOpacity": 60 if stacked else 8,
        "showPoints": "never",
        "spanNulls": False,
        "axisSoftMin": 0,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if line else "off"},
    }
    if log:
        custom["scaleDistribution"] = {"type": "log", "log": 10}
        del custom["axisSoftMin"]
    defaults = {
        "unit": unit,
        "noValue": "0",
        "color": {"mode": "palette-classic-by-name"},
        "thresholds": thresholds,
        "custom": custom,
        "mappings": [],
    }
    if not log:
        defaults["min"] = 0
    if maximum is not None:
        defaults["max"] = maximum
    if decimals is not None:
        defaults["decimals"] = decimals
    options = {
        "legend": {"displayMode": "table", "placement": "right", "showLegend": True, "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel("timeseries", title, description, queries, defaults, options,
                 overrides=[fixed_color(*pair) for pair in (colors or {}).items()], links=links)


def heatmap(title, description, expr, *, links=()):
    """Buckets over time; their bounds are those of the histogram."""
    defaults = {
        "unit": "short",
        "noValue": "0",
        "thresholds": NEUTRAL,
        "custom": {"scaleDistribution": {"type": "linear"}, "hideFrom": {"legend": False, "tooltip": False, "viz": False}},
    }
    options = {
        "calculate": False,
        "cellGap": 1,
        "cellValues": {"unit": "short", "decimals": 1},
        "color": {"mode": "scheme", "scheme": "Oranges", "scale": "exponential", "exponent": 0.5, "fill": "dark-orange",
                  "reverse": False, "steps": 64, "min": 0},
        "exemplars": {"color": "rgba(50,115,217,0.9)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "tooltip": {"mode": "single", "yHistogram": True, "showColorScale": False},
        "yAxis": {"axisPlacement": "left", "unit": "s", "reverse": False},
    }
    return panel("heatmap", title, description, [query(expr, "{{le}}", heatmap=True, exemplar=True)], defaults, options,
                 links=links)


def table(title, description, queries, thresholds, *, columns, sort, unit="short", overrides=(), links=(), decimals=0):
    """A table of labels and values. `columns` maps the field names to their headings, in order; other
    fields are hidden."""
    defaults = {
        "unit": unit,
        "decimals": decimals,
        "noValue": "0",
        "color": {"mode": "thresholds"},
        "thresholds": thresholds,
        "custom": {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": True, "inspect": False,
                   "minWidth": 70},
        "mappings": [],
    }
    options = {
        "showHeader": True,
        "cellHeight": "sm",
        "frameIndex": 0,
        "sortBy": [{"displayName": columns[sort], "desc": True}],
    }
    transformations = [
        {"id": "merge", "options": {}},
        {"id": "filterFieldsByName", "options": {"include": {"names": list(columns)}}},
        {"id": "organize", "options": {
            "excludeByName": {},
            "indexByName": {name: index for index, name in enumerate(columns)},
            "renameByName": dict(columns),
        }},
    ]
    queries = [{**one, "instant": True, "range": False, "format": "table"} for one in queries]
    return panel("table", title, description, queries, defaults, options, overrides=overrides, links=links,
                 transformations=transformations)


def text(title, description, content):
    return {
        "type": "text",
        "title": title,
        "description": description,
        "fieldConfig": {"defaults": {}, "overrides": []},
        "options": {"mode": "markdown", "content": content},
    }


def alert_list(title, description):
    """Alerts of any source that Grafana knows. A query of ALERTS could not be limited to $job: alerts do
    not carry that label."""
    options = {
        "alertInstanceLabelFilter": '{alertname=~"Oncewatch.+", namespace=~"$namespace", service=~"$service"}',
        "alertName": "",
        "dashboardAlerts": False,
        "groupBy": [],
        "groupMode": "default",
        "maxItems": 20,
        "sortOrder": 3,
        "stateFilter": {"error": True, "firing": True, "noData": False, "normal": False, "pending": False},
        "viewMode": "list",
    }
    return {
        "type": "alertlist",
        "title": title,
        "description": description,
        "fieldConfig": {"defaults": {}, "overrides": []},
        "options": options,
    }


def fixed_color(name, color):
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}],
    }


def column(name, **properties):
    """Overrides of one column; keyword `custom_x` sets `custom.x`."""
    made = [{"id": key.replace("custom_", "custom."), "value": value} for key, value in properties.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": made}


def colored_count(name):
    """Shows a count on the colour of its threshold."""
    return column(name, custom_cellOptions={"type": "color-background", "mode": "basic"}, custom_width=80)


def dashboard_url(uid, **fields):
    """Another dashboard with this time range and these variables; `fields` maps variables to the fields of
    the clicked row that set them."""
    carried = "&".join("${%s:queryparam}" % name for name in VARIABLES if name not in fields)
    chosen = "".join(f"&var-{name}=${{__data.fields.{field}}}" for name, field in fields.items())
    return f"/d/{uid}?${{__url_time_range}}&{carried}{chosen}"


def data_link(title, url):
    """A link from a cell or a point."""
    return {"title": title, "url": url, "targetBlank": url.startswith("/explore")}


def traces_url(traceql):
    """Explore with a TraceQL search in the chosen traces data source and time range."""
    pane = {
        "datasource": TRACES["uid"],
        "queries": [{"refId": "A", "datasource": TRACES, "queryType": "traceql", "limit": 50, "query": traceql}],
        "range": {"from": "${__from}", "to": "${__to}"},
    }
    panes = quote(json.dumps({"traces": pane}, separators=(",", ":")), safe="${}_")
    # Braces belong to the JSON except where they hold a variable.
    for name in ("tempo_datasource", "__from", "__to"):
        panes = panes.replace("${%s}" % name, f"\0{name}\1")
    panes = panes.replace("{", "%7B").replace("}", "%7D").replace("\0", "${").replace("\1", "}")
    return f"/explore?schemaVersion=1&panes={panes}"


def panel_link(title, url):
    return {"title": title, "url": url, "type": "link", "icon": "external link", "tooltip": title, "tags": [],
            "asDropdown": False, "targetBlank": url.startswith("/explore"), "includeVars": False, "keepTime": False}


class Board:
    """Lays panels out from left to right and numbers them."""

    def __init__(self):
        self.panels = []
        self._x = self._y = self._height = 0

    def add(self, made, width, height):
        if made["type"] == "timeseries" and width < WIDE_COLUMNS:
            made["options"]["legend"] = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
        if self._x + width > GRID_COLUMNS:
            self._break()
        made = {"id": len(self.panels) + 1, **made, "gridPos": {"x": self._x, "y": self._y, "w": width, "h": height}}
        self.panels.append(made)
        self._x += width
        self._height = max(self._height, height)

    def row(self, title):
        self._break()
        grid = {"x": 0, "y": self._y, "w": GRID_COLUMNS, "h": 1}
        self.panels.append({"id": len(self.panels) + 1, "type": "row", "title": title, "collapsed": False, "gridPos": grid,
                            "panels": []})
        self._y += 1

    def _break(self):
        self._y += self._height
        self._x = self._height = 0
