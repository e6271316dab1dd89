"""One scrape of a metrics page, in the classic text format."""

import urllib.request
from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

OPENMETRICS = "application/openmetrics-text;version=1.0.0"


def fetch(url: str, accept: str | None = None) -> tuple[str, str]:
    """Content type and text of a page."""
    request = urllib.request.Request(url, headers={"Accept": accept} if accept else {})
    with urllib.request.urlopen(request, timeout=5) as reply:
        return reply.headers["Content-Type"], reply.read().decode()


class Scrape:
    """The samples of one scrape, looked up by name and labels."""

    def __init__(self, text: str):
        self.text = text
        self.samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    @classmethod
    def of(cls, url: str) -> "Scrape":
        return cls(fetch(url)[1])

    def named(self, name: str) -> list:
        """Every sample of this name; a name that is not there at all is an error, not a zero."""
        found = [sample for sample in self.samples if sample.name == name]
        assert found, f"no series {name} on the metrics page"
        return found

    def value(self, name: str, **labels: str) -> float:
        """The sum over the samples that carry these labels; at least one must exist."""
        found = [s.value for s in self.named(name) if labels.items() <= s.labels.items()]
        assert found, f"no series {name}{labels} on the metrics page"
        return sum(found)

    def count_by(self, name: str, label: str) -> Counter:
        """Counter values above zero, summed by one label."""
        counts: Counter = Counter()
        for sample in self.named(name):
            if sample.value:
                counts[sample.labels[label]] += int(sample.value)
        return counts
