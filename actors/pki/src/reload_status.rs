use std::sync::Arc;

use arc_swap::ArcSwapOption;

/// What came of the last look at certificate files that are followed. Clones share it, so that
/// metrics tell what the log has told once.
#[derive(Clone, Debug, Default)]
pub struct ReloadStatus(Arc<ArcSwapOption<String>>);

impl ReloadStatus {
    /// Takes the end of a look: why the files are not used, if they are not. Returns whether that
    /// is news.
    pub fn set(&self, failure: Option<String>) -> bool {
        let before = self.0.swap(failure.clone().map(Arc::new));
        before.as_deref() != failure.as_ref()
    }

    /// Returns why the files are not used, and what was before them stays.
    pub fn failure(&self) -> Option<String> {
        self.0.load().as_deref().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_news_once_and_so_is_its_end() {
        let status = ReloadStatus::default();
        let failed = || Some("half of a file".to_owned());
        assert!(!status.set(None) && status.set(failed()) && !status.set(failed()));
        assert_eq!(status.clone().failure(), failed());
        assert!(status.set(Some("expired".to_owned())) && status.set(None));
        assert_eq!(status.failure(), None);
    }
}
