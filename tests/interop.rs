//! Macaroons beside those of the Go library, and of the page's JavaScript: the same bytes.
//!
//! We accept a subset of what the Go library accepts; what is left out is a closed list, of which
//! every item has its own case here.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use stream_macaroon::{Key, MAX_CAVEATS, MAX_TEXT, Macaroon, MacaroonError};

const CASES: usize = 10_000;

/// Questions on their way at once; each side reads while the other writes.
const BATCH: usize = 1_000;

/// Asks the Go library all of `questions`.
fn go(questions: &[Value]) -> anyhow::Result<Vec<Value>> {
    // A place of its own: what another test runs cannot be written.
    let dir = tempfile::tempdir()?;
    let program = dir.path().join("go-macaroon");
    let built = Command::new("go")
        .args(["build", "-o"])
        .args([program.as_path(), Path::new("./tests/interop/macaroon")])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .envs([("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode"), ("GOFLAGS", "")])
        .status()
        .context("there is no Go: install golang-go and golang-gopkg-macaroon.v2-dev")?;
    ensure!(built.success(), "the Go program does not build");

    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut to = child.stdin.take().context("its input")?;
    let mut from = BufReader::new(child.stdout.take().context("its output")?).lines();
    let mut answers = Vec::with_capacity(questions.len());
    for batch in questions.chunks(BATCH) {
        let lines: String = batch.iter().map(|question| format!("{question}\n")).collect();
        let read = std::thread::scope(|scope| {
            let writing = scope.spawn(|| to.write_all(lines.as_bytes()));
            let read = from.by_ref().take(batch.len()).collect::<Result<Vec<_>, _>>();
            writing.join().expect("the writer does not panic").and(read)
        })?;
        for line in read {
            answers.push(serde_json::from_str(&line)?);
        }
    }
    drop(to);
    ensure!(child.wait()?.success(), "the Go program failed");
    ensure!(answers.len() == questions.len(), "the Go program ended early");
    Ok(answers)
}

/// Repeatable chance: a failure names the seed.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let given = std::env::var("STREAM_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from_le_bytes(*stream_pki::random_bytes::<8>()));
        eprintln!("STREAM_TEST_SEED={seed}");
        Self(seed)
    }

    /// A number below `end` (splitmix64).
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }

    fn text(&mut self, longest: usize) -> String {
        const LETTERS: [char; 16] =
            ['a', 'Z', '0', ' ', '.', '-', '_', '/', '"', '\\', '\0', '\n', 'é', 'ß', '€', '𝄞'];
        let length = self.below(longest + 1);
        (0..length).map(|_| LETTERS[self.below(LETTERS.len())]).collect()
    }

    fn bytes(&mut self, longest: usize) -> Vec<u8> {
        let length = self.below(longest + 1);
        (0..length).map(|_| self.below(256) as u8).collect()
    }
}

/// What a macaroon is made of.
#[derive(Debug)]
struct Recipe {
    root_key: Vec<u8>,
    location: String,
    identifier: String,
    caveats: Vec<String>,
}

impl Recipe {
    fn random(chance: &mut Chance) -> Self {
        // Some texts are longer than a length of one byte says, all together within the bounds.
        let count = chance.below(9);
        Self {
            root_key: chance.bytes(80),
            location: chance.text(30),
            identifier: chance.text(60),
            caveats: (0..count).map(|_| chance.text(60)).collect(),
        }
    }

    fn key(&self) -> Key {
        Key::derive(&self.root_key)
    }

    fn make(&self) -> Macaroon {
        let mut macaroon = Macaroon::new(&self.key(), &self.location, &self.identifier);
        self.caveats.iter().for_each(|caveat| macaroon.add_first_party(caveat));
        macaroon
    }

    fn ask(&self, op: &str, token: &str) -> Value {
        let Self { root_key, location, identifier, caveats } = self;
        json!({ "op": op, "root_key": STANDARD.encode(root_key), "location": location,
                "identifier": identifier, "caveats": caveats, "token": token })
    }
}

fn recipes(chance: &mut Chance) -> Vec<Recipe> {
    (0..CASES).map(|_| Recipe::random(chance)).collect()
}

#[test]
fn what_go_mints_we_verify_and_would_have_written_ourselves() -> anyhow::Result<()> {
    let recipes = recipes(&mut Chance::new());
    let questions: Vec<_> = recipes.iter().map(|recipe| recipe.ask("mint", "")).collect();
    for (recipe, answer) in recipes.iter().zip(go(&questions)?) {
        let token = answer["token"].as_str().with_context(|| format!("{recipe:?} {answer}"))?;
        let read = Macaroon::decode(token).with_context(|| format!("{recipe:?}"))?;
        assert_eq!(read.verify(&recipe.key()), Ok(()), "{recipe:?}");
        assert_eq!(read.verify(&Key::derive(b"other")), Err(MacaroonError::Signature));
        assert_eq!(read.caveats(), recipe.caveats);
        assert_eq!(recipe.make().encode(), token, "{recipe:?}");
    }
    Ok(())
}

#[test]
fn what_we_mint_go_verifies_and_narrows_as_we_do() -> anyhow::Result<()> {
    let mut chance = Chance::new();
    let recipes = recipes(&mut chance);
    let tokens: Vec<_> = recipes.iter().map(|recipe| recipe.make().encode()).collect();
    let narrower: Vec<_> = recipes.iter().map(|_| Recipe::random(&mut chance)).collect();
    let verify = recipes.iter().zip(&tokens).map(|(recipe, token)| recipe.ask("verify", token));
    let narrow = narrower.iter().zip(&tokens).map(|(recipe, token)| recipe.ask("attenuate", token));
    let answers = go(&verify.chain(narrow).collect::<Vec<_>>())?;
    let (verified, narrowed) = answers.split_at(CASES);
    for ((recipe, token), answer) in recipes.iter().zip(&tokens).zip(verified) {
        assert_eq!(answer["valid"], true, "{recipe:?} {answer}");
        assert_eq!(answer["canonical"].as_str(), Some(token.as_str()), "{recipe:?}");
        assert_eq!(answer["location"].as_str(), Some(recipe.location.as_str()));
    }
    for ((recipe, more), answer) in recipes.iter().zip(&narrower).zip(narrowed) {
        let mut ours = recipe.make();
        more.caveats.iter().for_each(|caveat| ours.add_first_party(caveat));
        assert_eq!(answer["token"].as_str(), Some(ours.encode().as_str()), "{recipe:?} {more:?}");
        assert_eq!(ours.verify(&recipe.key()), Ok(()));
    }
    Ok(())
}

/// Damages a token, in its text or in its bytes.
fn tamper(token: &str, chance: &mut Chance) -> String {
    let mut text = token.as_bytes().to_vec();
    match chance.below(8) {
        0 => text[chance.below(token.len())] = b"AZaz09-_+/=\n"[chance.below(12)],
        1 => text.truncate(chance.below(token.len())),
        2 => text.insert(chance.below(token.len()), b"Aw-/=\n"[chance.below(6)]),
        3 => text.extend_from_slice(["=", "==", "\n", "AA", "AAAA"][chance.below(5)].as_bytes()),
        _ => {
            let mut bytes = URL_SAFE_NO_PAD.decode(token).expect("a token of ours");
            let at = chance.below(bytes.len());
            match chance.below(4) {
                0 => bytes.insert(at, chance.below(256) as u8),
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, bytes[at]),
                _ => bytes[at] ^= 1 << chance.below(8),
            }
            return URL_SAFE_NO_PAD.encode(bytes);
        }
    }
    String::from_utf8(text).expect("ASCII stays ASCII")
}

/// Whether the closed list lets us refuse what the Go library accepted in `answer`.
fn is_listed(text: &str, answer: &Value) -> bool {
    let one_alphabet = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    // Stray bits, line ends, trailing bytes, fields that are empty, doubled or spelled at length:
    // all of them are gone in what the library writes of what it has read.
    let canonical = answer["canonical"].as_str() == Some(&one_alphabet);
    let caveats = answer["caveats"].as_array().map_or(0, Vec::len);
    let bounded = text.len() <= MAX_TEXT && caveats <= MAX_CAVEATS;
    // Format 1 begins with another byte.
    let format_2 = one_alphabet.starts_with("Ag");
    let plain = answer["text"] == true && answer["third_party"] == false;
    !(canonical && bounded && format_2 && plain)
}

#[test]
fn what_was_tampered_with_both_judge_alike() -> anyhow::Result<()> {
    let mut chance = Chance::new();
    let recipes = recipes(&mut chance);
    let texts: Vec<_> =
        recipes.iter().map(|recipe| tamper(&recipe.make().encode(), &mut chance)).collect();
    let ask = |(recipe, text): (&Recipe, &String)| recipe.ask("verify", text);
    let answers = go(&recipes.iter().zip(&texts).map(ask).collect::<Vec<_>>())?;
    let (mut accepted, mut refused) = (0, 0);
    for ((recipe, text), answer) in recipes.iter().zip(&texts).zip(&answers) {
        let ours = Macaroon::decode(text).is_ok_and(|read| read.verify(&recipe.key()).is_ok());
        let theirs = answer["valid"] == true && !is_listed(text, answer);
        assert_eq!(ours, theirs, "{recipe:?} as {text:?}: {answer}");
        *(if ours { &mut accepted } else { &mut refused }) += 1;
    }
    // A changed location and added padding are no damage, and all else is.
    assert!(accepted > CASES / 100 && refused > CASES / 2, "{accepted} and {refused}");
    Ok(())
}

fn plain() -> Recipe {
    Recipe {
        root_key: b"root".to_vec(),
        location: "here".into(),
        identifier: "id".into(),
        caveats: vec!["allow session.read".into()],
    }
}

/// The closed list, item by item: Go takes it, and we say why we do not.
#[test]
fn we_refuse_what_go_accepts_only_for_the_reasons_on_the_list() -> anyhow::Result<()> {
    let recipe = plain();
    let token = recipe.make().encode();
    let bytes = URL_SAFE_NO_PAD.decode(&token)?;
    let text = |parts: &[&[u8]]| URL_SAFE_NO_PAD.encode(parts.concat());
    let (header, rest) = bytes.split_at(bytes.len() - 56);
    assert_eq!((header, &rest[..2]), (&b"\x02\x01\x04here\x02\x02id\0"[..], &b"\x02\x12"[..]));

    let stray = format!("{}{}", &token[..token.len() - 1], next(token.as_bytes()[token.len() - 1]));
    let many = Recipe { caveats: vec!["c".into(); MAX_CAVEATS + 1], ..plain() };
    let long = Recipe { identifier: "i".repeat(MAX_TEXT), ..plain() };
    let third = json!({ "op": "mint", "root_key": STANDARD.encode("root"), "third_party": true });
    let third = go(&[third])?[0]["token"].as_str().context("a token")?.to_owned();
    let unwritten = |location: &str| {
        let named = Macaroon::new(&recipe.key(), location, "id").encode();
        URL_SAFE_NO_PAD.decode(named).expect("a token of ours")
    };
    let bare = unwritten("");

    let cases = [
        ("strict base64: stray bits", stray, MacaroonError::Base64),
        ("strict base64: line ends", format!("{token}\n"), MacaroonError::Base64),
        ("trailing bytes", text(&[&bytes, b"\0"]), MacaroonError::Malformed),
        ("4 KiB", long.make().encode(), MacaroonError::TooLong),
        ("32 caveats", many.make().encode(), MacaroonError::TooManyCaveats),
        ("an empty field", text(&[b"\x02\x01\0", &bare[1..]]), MacaroonError::Malformed),
        (
            "a length spelled at length",
            text(&[b"\x02\x02\x82\0", &bare[3..]]),
            MacaroonError::Malformed,
        ),
    ];
    let ask = |text: &str| recipe.ask("verify", text);
    let answers = go(&cases.iter().map(|(_, text, _)| ask(text)).collect::<Vec<_>>())?;
    for ((what, text, error), answer) in cases.iter().zip(&answers) {
        assert_eq!(answer["valid"], true, "{what}: {answer}");
        assert!(is_listed(text, answer), "{what}: {answer}");
        assert_eq!(Macaroon::decode(text).err(), Some(*error), "{what}");
    }

    // Go reads these as well, though it lets nothing through on them.
    let doubled = text(&[b"\x02\x02\x02id\x02\x02id\0", rest]);
    let misordered = text(&[b"\x02\x02\x02id\x01\x04here\0", rest]);
    let answers = go(&[ask(&doubled), ask(&misordered), ask(&third)])?;
    assert!(answers[..2].iter().all(|answer| answer["error"].is_string()), "{answers:?}");
    assert_eq!(Macaroon::decode(&doubled).err(), Some(MacaroonError::Malformed));
    assert_eq!(Macaroon::decode(&misordered).err(), Some(MacaroonError::Malformed));
    assert!(answers[2]["third_party"] == true && is_listed(&third, &answers[2]), "{answers:?}");
    assert_eq!(Macaroon::decode(&third).err(), Some(MacaroonError::ThirdParty));

    // The location is no part of what is signed: both read any, and the services want their own.
    let elsewhere = URL_SAFE_NO_PAD.encode(unwritten("elsewhere"));
    assert_eq!(go(&[ask(&elsewhere)])?[0]["valid"], true);
    assert_eq!(Macaroon::decode(&elsewhere)?.location(), "elsewhere");
    Ok(())
}

/// The letter of base64 whose number is one more: the same byte, with a bit nobody needs.
fn next(letter: u8) -> char {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let number = LETTERS.iter().position(|l| *l == letter).expect("a letter of base64");
    LETTERS[number ^ 1].into()
}

/// The page narrows tokens with JavaScript of its own, here in Node.
#[test]
fn what_the_page_narrows_verifies() -> anyhow::Result<()> {
    let mut chance = Chance::new();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("actors/gateway/ui/attenuate.js");
    let script = format!(
        "{}\nprocess.stdin.setEncoding('utf8');\nlet input = '';\nfor await (const part of process.stdin) input += part;\n\
         const done = [];\n\
         for (const [token, caveats] of JSON.parse(input)) {{\n\
           done.push(await attenuate(token, caveats));\n\
         }}\n\
         console.log(JSON.stringify(done));\n",
        std::fs::read_to_string(page)?
    );
    let recipes: Vec<_> = (0..300).map(|_| Recipe::random(&mut chance)).collect();
    let more: Vec<_> = recipes
        .iter()
        .map(|_| vec![chance.text(40), chance.text(200), "allow signal.read".to_owned()])
        .collect();
    let input: Vec<_> = recipes
        .iter()
        .zip(&more)
        .map(|(recipe, more)| json!([recipe.make().encode(), more]))
        .collect();

    let mut node = Command::new("node")
        .args(["--input-type=module", "--eval", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("there is no Node.js")?;
    node.stdin.take().context("its input")?.write_all(json!(input).to_string().as_bytes())?;
    let output = node.wait_with_output()?;
    ensure!(output.status.success(), "Node.js failed");
    let narrowed: Vec<String> = serde_json::from_slice(&output.stdout)?;
    assert_eq!(narrowed.len(), recipes.len());
    for ((recipe, more), text) in recipes.iter().zip(&more).zip(&narrowed) {
        let mut ours = recipe.make();
        more.iter().for_each(|caveat| ours.add_first_party(caveat));
        assert_eq!(*text, ours.encode(), "{recipe:?} {more:?}");
    }
    Ok(())
}
