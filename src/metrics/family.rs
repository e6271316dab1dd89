//! Registers one metric family and hands out its children, so that names and labels are written once.

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

use crate::detect::verdict::Verdict;

/// Prefix of all series but `process_*`.
const PREFIX: &str = "oncewatch_";

/// A family that is about to be registered; each method registers it with labels of one shape and
/// touches all of its children.
pub(super) struct Family<'a> {
    registry: &'a Registry,
    name: String,
    help: &'static str,
}

impl<'a> Family<'a> {
    pub(super) fn new(registry: &'a Registry, name: &str, help: &'static str) -> Self {
        let name = format!("{PREFIX}{name}");
        Self {
            registry,
            name,
            help,
        }
    }

    pub(super) fn counter(&self) -> IntCounter {
        self.add(IntCounter::with_opts(self.opts()))
    }

    pub(super) fn gauge(&self) -> Gauge {
        self.add(Gauge::with_opts(self.opts()))
    }

    pub(super) fn int_gauge(&self) -> IntGauge {
        self.add(IntGauge::with_opts(self.opts()))
    }

    pub(super) fn labelled_gauge(&self, labels: &[(&str, &str)]) -> Gauge {
        let names: Vec<_> = labels.iter().map(|(name, _)| *name).collect();
        let values: Vec<_> = labels.iter().map(|(_, value)| *value).collect();
        self.add(GaugeVec::new(self.opts(), &names))
            .with_label_values(&values)
    }

    pub(super) fn counters<const N: usize>(
        &self,
        label: &str,
        values: [&str; N],
    ) -> [IntCounter; N] {
        let vec = self.add(IntCounterVec::new(self.opts(), &[label]));
        values.map(|value| vec.with_label_values(&[value]))
    }

    pub(super) fn gauges_by_api(&self, apis: &[Box<str>]) -> Vec<Gauge> {
        let vec = self.add(GaugeVec::new(self.opts(), &["api"]));
        apis.iter()
            .map(|api| vec.with_label_values(&[&**api]))
            .collect()
    }

    pub(super) fn counters_by_api<const N: usize>(
        &self,
        apis: &[Box<str>],
        label: &str,
        values: [&str; N],
    ) -> Vec<[IntCounter; N]> {
        let vec = self.add(IntCounterVec::new(self.opts(), &["api", label]));
        apis.iter()
            .map(|api| values.map(|value| vec.with_label_values(&[&**api, value])))
            .collect()
    }

    pub(super) fn int_gauges_by_api<const N: usize>(
        &self,
        apis: &[Box<str>],
        label: &str,
        values: [&str; N],
    ) -> Vec<[IntGauge; N]> {
        let vec = self.add(IntGaugeVec::new(self.opts(), &["api", label]));
        apis.iter()
            .map(|api| values.map(|value| vec.with_label_values(&[&**api, value])))
            .collect()
    }

    pub(super) fn verdicts_by_api(
        &self,
        apis: &[Box<str>],
    ) -> Vec<[IntCounter; Verdict::ALL.len()]> {
        let vec = self.add(IntCounterVec::new(
            self.opts(),
            &["api", "verdict", "severity"],
        ));
        let child = |api: &str, verdict: Verdict| {
            vec.with_label_values(&[api, verdict.as_str(), verdict.severity().as_str()])
        };
        apis.iter()
            .map(|api| Verdict::ALL.map(|verdict| child(api, verdict)))
            .collect()
    }

    pub(super) fn histograms_by_api(&self, apis: &[Box<str>], buckets: &[f64]) -> Vec<Histogram> {
        let opts = HistogramOpts::new(&self.name, self.help).buckets(buckets.to_vec());
        let vec = self.add(HistogramVec::new(opts, &["api"]));
        apis.iter()
            .map(|api| vec.with_label_values(&[&**api]))
            .collect()
    }

    fn opts(&self) -> Opts {
        Opts::new(&self.name, self.help)
    }

    fn add<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let registered = made.and_then(|collector| {
            self.registry.register(Box::new(collector.clone()))?;
            Ok(collector)
        });
        registered.unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}
