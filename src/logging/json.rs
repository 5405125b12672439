//! A line of the log as a JSON object.

use std::io::{self, Write};

use env_logger::fmt::Formatter;
use log::Record;
use log::kv::{Error, Key, Value, VisitSource, VisitValue};
use serde_json::{Map, Value as Json};

/// Writes one line.
pub(super) fn write(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let time = out.timestamp_millis().to_string();
    writeln!(out, "{}", line(&time, record))
}

/// Returns what the line says. The names of the first four members are no names of fields.
fn line(time: &str, record: &Record<'_>) -> Json {
    let first = [
        ("time", time.to_owned()),
        ("level", record.level().as_str().to_lowercase()),
        ("target", record.target().to_owned()),
        ("message", record.args().to_string()),
    ];
    let first = first.into_iter().map(|(name, value)| (name.to_owned(), Json::String(value)));
    let mut members = Members(first.collect());
    // It refuses nothing.
    let _ = record.key_values().visit(&mut members);
    Json::Object(members.0)
}

struct Members(Map<String, Json>);

impl<'kvs> VisitSource<'kvs> for Members {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let mut json = Member(Json::Null);
        value.visit(&mut json)?;
        self.0.entry(key.as_str()).or_insert(json.0);
        Ok(())
    }
}

struct Member(Json);

impl VisitValue<'_> for &mut Member {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), Error> {
        self.0 = Json::String(value.to_string());
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), Error> {
        self.0 = Json::Null;
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use log::Level;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_is_an_object_with_its_fields() {
        let why = "a 1".to_owned();
        let fields = [
            ("session", Value::from("s\"1\n")),
            ("count", Value::from(3)),
            ("good", Value::from(true)),
            ("why", Value::from_display(&why)),
            ("none", Value::null()),
            ("level", Value::from("mine")),
        ];
        let fields = &fields[..];
        let record = Record::builder()
            .level(Level::Warn)
            .target("stream_x")
            .key_values(&fields)
            .args(format_args!("it fails"))
            .build();
        let expected = json!({
            "time": "T", "level": "warn", "target": "stream_x", "message": "it fails",
            "session": "s\"1\n", "count": 3, "good": true, "why": "a 1", "none": null,
        });
        assert_eq!(line("T", &record), expected);
        assert!(!line("T", &record).to_string().contains('\n'), "it is one line");
    }
}
