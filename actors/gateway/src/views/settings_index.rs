//! What operators have changed of the configuration. Pure.

use stream_bridge::RecordChange;
use stream_protocol::subjects::SETTINGS_KEY;

use super::view::Index;
use crate::settings::{Overrides, Settings};

/// The one record; as good as empty while there is none.
#[derive(Default)]
pub(crate) struct SettingsIndex(Overrides);

impl SettingsIndex {
    /// Returns the values that hold over those of `file`.
    pub(crate) fn over(&self, file: Settings) -> Settings {
        self.0.over(file)
    }
}

impl Index for SettingsIndex {
    type Record = Overrides;
    type Change = RecordChange<Overrides>;

    fn keep(key: String, change: RecordChange<Overrides>) -> Option<Self::Change> {
        (key == SETTINGS_KEY).then_some(change)
    }

    fn key(_: &Self::Change) -> &str {
        SETTINGS_KEY
    }

    fn apply(&mut self, changes: Vec<Self::Change>) {
        for change in changes {
            match change {
                RecordChange::Stored(entry) => self.0 = entry.value,
                RecordChange::Removed => self.0 = Overrides::default(),
                // What was known last holds.
                RecordChange::Unreadable => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use stream_bridge::Entry;

    use super::*;
    use crate::config::Config;

    #[test]
    fn what_was_stored_last_holds_also_when_it_cannot_be_read_any_more() {
        let file = Config::default().settings();
        let value = serde_json::from_str(r#"{"items":{"share.per_session":"1"}}"#).unwrap();
        let mut index = SettingsIndex::default();
        assert_eq!(index.over(file), file);
        index.apply(vec![RecordChange::Stored(Entry { value, revision: 1 })]);
        let changed = Settings { shares_per_session: 1, ..file };
        assert_eq!(index.over(file), changed);
        index.apply(vec![RecordChange::Unreadable]);
        assert_eq!(index.over(file), changed);
        index.apply(vec![RecordChange::Removed]);
        assert_eq!(index.over(file), file);
        assert!(SettingsIndex::keep("other".to_owned(), RecordChange::Removed).is_none());
    }
}
