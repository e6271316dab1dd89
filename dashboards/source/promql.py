"""Selectors, and the few shapes of query that the dashboards share."""

INSTANCE = 'cluster=~"$cluster", namespace=~"$namespace", service=~"$service", job=~"$job", instance=~"$instance"'
POD = "cluster, namespace, service, pod, instance"
FINDING = 'severity!="info"'


def one_of(label, values):
    return f'{label}=~"{"|".join(values)}"'


def series(name, *matchers, api=True):
    """A selector limited by all variables; `api=False` for metrics without that label."""
    parts = [*matchers, INSTANCE, *(['api=~"$api"'] if api else [])]
    return f"{name}{{{', '.join(parts)}}}"


def or_zero(expr):
    return f"({expr}) or vector(0)"


def counted(selector):
    """How much a counter grew over the shown range, of each series.

    `increase` alone does not see a series whose first sample is already 1, as it happens in a short-lived
    pod. A series that began within the range began at zero, so its largest value is what it counted.
    """
    return f"(max_over_time({selector}[$__range]) unless {selector} offset $__range) or increase({selector}[$__range])"


def total(selector, by=""):
    return f"sum{f' by ({by}) ' if by else ''}({counted(selector)})"


def rate(selector, by="", scale=""):
    return f"sum{f' by ({by}) ' if by else ''}(rate({selector}[$__rate_interval])){scale}"


def quantile(q, bucket):
    return f"histogram_quantile({q}, sum by (le) (rate({bucket}[$__rate_interval])))"


def rows_or_none(expr, label, words):
    """Rows above zero, or one row that says that there are none."""
    return f'({expr}) > 0 or on () label_replace(vector(0), "{label}", "{words}", "", "")'


def first_seen(selector, by):
    """Unix seconds in milliseconds of the first growth in the range; its resolution is $__rate_interval."""
    grew = f"sum by ({by}) (increase({selector}[$__rate_interval])) > 0"
    return f"1000 * min_over_time((({grew}) * 0 + time())[$__range:$__rate_interval])"


def last_seen(selector, by):
    """Like `first_seen`, of the last growth."""
    return first_seen(selector, by).replace("min_over_time", "max_over_time")
