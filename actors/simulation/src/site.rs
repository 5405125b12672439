//! The files that units need. The certificate is made once for a process, all else for a thread.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::OnceLock;

use stream_ams::Template;
use stream_pki::{Identity, KeyPairPem, ServerIdentity};
use tempfile::TempDir;

thread_local! {
    static SITE: Rc<Site> = Rc::new(Site::make());
}

pub(crate) struct Site {
    directory: TempDir,
    pub(crate) served: ServerIdentity,
    pub(crate) ams: Template,
}

impl Site {
    /// Returns that of this thread.
    pub(crate) fn get() -> Rc<Self> {
        SITE.with(Rc::clone)
    }

    fn make() -> Self {
        static MADE: OnceLock<KeyPairPem> = OnceLock::new();
        let names = ["localhost".to_owned()];
        let made =
            MADE.get_or_init(|| stream_pki::self_signed("unit", &names).expect("a certificate"));
        let directory = TempDir::new().expect("a directory");
        let file = |name: &str, text: &str| write(directory.path().join(name), text);
        let (certificate, key) = (file("unit.crt", &made.certificate), file("unit.key", &made.key));
        for service in ["agent", "gateway"] {
            file(&format!("{service}.sealing"), &service.repeat(8));
        }
        let identity = Identity::load(&certificate, &key).expect("an identity");
        let ams = stream_ams::Config {
            url: "https://ams.example:8444".to_owned(),
            certificate,
            key,
            fingerprints: vec![identity.fingerprint()],
            pins: None,
            ca: None,
            timeout_s: 10,
            reload_s: 5,
        };
        let ams = Template::new(ams).expect("a client of AMS");
        Self { served: ServerIdentity::new(identity), ams, directory }
    }

    /// Makes all as it was at first: a service removes first keys once they are stored, and
    /// remembers what it has seen.
    pub(crate) fn prepare(&self) {
        for service in ["agent", "gateway"] {
            // It may not be there.
            let _ = std::fs::remove_dir_all(self.file(&format!("{service}.state")));
            let file = self.file(&format!("{service}.root"));
            if !file.exists() {
                write(file, &service.repeat(16));
            }
        }
    }

    /// The configuration of what makes and takes the tokens of a service.
    pub(crate) fn tokens(&self, service: &str) -> stream_tokens::Config {
        stream_tokens::Config {
            sealing_key: self.file(&format!("{service}.sealing")),
            first_root_key: self.file(&format!("{service}.root")),
            state: self.file(&format!("{service}.state")),
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn write(path: PathBuf, text: &str) -> PathBuf {
    stream_pki::write_new(&path, text.as_bytes(), 0o600).expect("a file");
    path
}
