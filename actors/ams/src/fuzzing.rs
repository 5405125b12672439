//! What the fuzz targets reach of this crate, and no part of its interface. Every function takes
//! any bytes, and panics when a promise is broken.

use stream_protocol::{AmsInstance, printable};

use crate::AmsError;
use crate::events::{AmsEvent, read};
use crate::instance::{Instance, Raw};
use crate::response::{Cluster, Image, ListedApplication, MAX_TEXT, Operation, Server, open};
use crate::response::{base_name, streamable};

/// An answer of AMS with an HTTP status: what is read of it may be logged and shown, and so may why
/// it is not read.
pub fn answer(bytes: &[u8]) {
    for status in [200, 202, 400, 404, 503] {
        let answer = match open(status, bytes) {
            Ok(answer) => answer,
            Err(error) => {
                is_sentence(&error);
                continue;
            }
        };
        if let Some(id) = answer.operation() {
            assert!(!id.is_empty() && !id.contains('/'));
        }
        let server: Option<Server> = answer.read().inspect_err(is_sentence).ok();
        if let Some(Cluster { id, name }) = server.map(Cluster::from) {
            is_printable(&id);
            is_printable(&name);
        }
        if let Ok(operation) = answer.read::<Operation>().inspect_err(is_sentence) {
            assert!(operation.instance().is_none_or(AmsInstance::is_id));
            let _ = operation.outcome().inspect_err(is_sentence);
        }
        let listed: Vec<ListedApplication> = answer.read().unwrap_or_default();
        let streamable = streamable(listed);
        assert!(streamable.is_sorted());
        streamable.iter().for_each(|application| is_printable(&application.name));
        for image in answer.read::<Vec<Image>>().unwrap_or_default() {
            is_printable(&image.id);
            assert!(!image.is_there() || !image.name.is_empty());
        }
        for instance in answer.read::<Vec<Raw>>().unwrap_or_default() {
            let instance = Instance::from(instance);
            for text in [&instance.id, &instance.name, &instance.message] {
                is_printable(text);
            }
        }
    }
}

/// An event of AMS: what happens, happens to an instance.
pub fn event(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Some(AmsEvent::Instance(event)) = read(text) {
        assert!(AmsInstance::is_id(&event.instance));
        assert_eq!(base_name(&event.instance), event.instance);
    }
}

fn is_printable(text: &str) {
    assert_eq!(printable(text, MAX_TEXT), text);
}

fn is_sentence(error: &AmsError) {
    let text = error.to_string();
    assert_eq!(printable(&text, MAX_TEXT + 100), text);
}
