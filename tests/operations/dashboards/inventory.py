"""What a sidecar exports: its metrics, their labels and the values of those."""

from prometheus_client.parser import text_string_to_metric_families

# Labels that the scrape adds. cluster, namespace, service and pod come from relabelling.
SCRAPED = {"cluster", "namespace", "service", "pod", "job", "instance"}
# Series that Prometheus makes itself, with the labels that ours carry in them.
PROMETHEUS_OWN = {"up": {}, "ALERTS": {"alertname": None, "alertstate": {"firing", "pending"}, "severity": None, "api": None}}


def of(exposition):
    """Sample name -> label -> its values."""
    found = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


def families(exposition):
    return {family.name + ("_total" if family.type == "counter" else "")
            for family in text_string_to_metric_families(exposition)}


def findings(exposition):
    """Verdicts of severity warning or worse."""
    return {sample.labels["verdict"] for family in text_string_to_metric_families(exposition)
            for sample in family.samples
            if sample.name == "oncewatch_verdicts_total" and sample.labels["severity"] != "info"}
