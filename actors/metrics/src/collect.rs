//! The parts of a service whose metrics are in every scrape.

use std::sync::Arc;

use crate::Exposition;

/// A part of a service that has metrics.
pub trait Collect: Send + Sync {
    /// Adds them to a scrape. Asks nobody and waits for nothing.
    fn collect(&self, exposition: &mut Exposition);
}

/// The parts that one scrape asks, in their order; clones are the same ones.
#[derive(Clone, Default)]
pub struct Collectors(Arc<[Box<dyn Collect>]>);

impl Collectors {
    /// Has each scrape ask all `parts`.
    pub fn new(parts: Vec<Box<dyn Collect>>) -> Self {
        Self(parts.into())
    }

    /// Adds the metrics of all parts.
    pub fn collect(&self, exposition: &mut Exposition) {
        self.0.iter().for_each(|part| part.collect(exposition));
    }
}
