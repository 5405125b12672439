//! The properties of a vehicle (VHAL), of an automotive image: which there are, and their values.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// The members a value may be in. An answer holds only the one of its property.
const MEMBERS: [&str; 5] =
    ["int32_values", "int64_values", "float_values", "bytes", "string_value"];

/// May be read and written.
const READ_WRITE: u32 = 3;

/// Says so whenever it changes.
const ON_CHANGE: u32 = 1;

/// The bits of a property's number that say what type its value has.
const TYPE_MASK: i64 = 0x00ff_0000;

/// More values, or characters, than any property here needs.
const MAX_LENGTH: usize = 256;

/// The values of a vehicle, which stay when clients go.
pub(crate) struct Vehicle(BTreeMap<i64, Property>);

struct Property {
    member: &'static str,
    value: Value,
}

impl Default for Vehicle {
    fn default() -> Self {
        // Those that the public end-to-end tests use, with the values they expect to find.
        let properties = [
            (287_310_858, "int32_values", json!([0])),
            (289_409_539, "int32_values", json!([82])),
            (291_504_900, "float_values", json!([101.0])),
            (286_261_505, "string_value", json!("Toy Vehicle")),
            (290_521_862, "int64_values", json!([0, 100_000, 200_000, 300_000, 400_000])),
            (289_475_073, "int32_values", json!([6, 0])),
        ];
        let property = |(prop, member, value)| (prop, Property { member, value });
        Self(properties.map(property).into())
    }
}

impl Vehicle {
    /// Returns what can be read and written, in the order of the properties' numbers.
    pub(crate) fn configs(&self) -> Value {
        self.0.keys().map(|prop| config(*prop)).collect()
    }

    /// Returns the value of a property, or what is wrong with the question.
    pub(crate) fn get(&self, prop: i64, area_id: i64) -> Value {
        match self.0.get(&prop).filter(|_| area_id == 0) {
            Some(property) => answer(prop, [(property.member, property.value.clone())]),
            None => refusal(prop, area_id),
        }
    }

    /// Takes the value of a property; returns what the client is told.
    pub(crate) fn set(&mut self, asked: &Value) -> Value {
        let number = |name: &str| asked[name].as_i64();
        let (prop, area_id) = (number("prop").unwrap_or(0), number("area_id").unwrap_or(0));
        let Some(property) = self.0.get_mut(&prop).filter(|_| area_id == 0) else {
            return refusal(prop, area_id);
        };
        let given = MEMBERS.iter().find(|member| !asked[**member].is_null());
        let value = given.map(|member| &asked[*member]);
        match value {
            Some(value) if given == Some(&property.member) && fits(property.member, value) => {
                property.value = value.clone();
                answer(prop, [])
            }
            _ => {
                let error = format!("the value of property {prop} is in {}", property.member);
                answer(prop, [("error", Value::String(error))])
            }
        }
    }
}

fn answer<const N: usize>(prop: i64, members: [(&str, Value); N]) -> Value {
    let mut answer = Map::from_iter([
        ("prop".to_owned(), json!(prop)),
        ("area_id".to_owned(), json!(0)),
        ("status".to_owned(), json!(0)),
    ]);
    answer.extend(members.map(|(name, value)| (name.to_owned(), value)));
    Value::Object(answer)
}

fn refusal(prop: i64, area_id: i64) -> Value {
    let error = format!("there is no property {prop} in area {area_id}");
    json!({ "prop": prop, "area_id": area_id, "error": error })
}

fn config(prop: i64) -> Value {
    json!({
        "prop": prop, "access": READ_WRITE, "change_mode": ON_CHANGE,
        "area_configs": [{ "area_id": 0 }], "config_array": [], "config_string": "",
        "min_sample_rate": 0.0, "max_sample_rate": 0.0, "value_type": prop & TYPE_MASK,
    })
}

/// Whether `value` is one that `member` may hold.
fn fits(member: &str, value: &Value) -> bool {
    let each = |is: fn(&Value) -> bool| {
        value.as_array().is_some_and(|all| all.len() <= MAX_LENGTH && all.iter().all(is))
    };
    match member {
        "int32_values" => each(|n| n.as_i64().is_some_and(|n| i32::try_from(n).is_ok())),
        "int64_values" => each(Value::is_i64),
        "float_values" => each(Value::is_number),
        "string_value" => value.as_str().is_some_and(|text| text.len() <= MAX_LENGTH),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OIL_TEMPERATURE: i64 = 291_504_900;

    #[test]
    fn each_property_has_a_type_and_answers_with_its_member_alone() {
        let vehicle = Vehicle::default();
        let configs = vehicle.configs();
        let configs = configs.as_array().unwrap();
        assert_eq!(configs.len(), 6);
        for config in configs {
            let prop = config["prop"].as_i64().unwrap();
            let answer = vehicle.get(prop, 0);
            let members: Vec<_> =
                MEMBERS.into_iter().filter(|member| !answer[*member].is_null()).collect();
            assert_eq!(members.len(), 1, "{answer}");
            let expected = match config["value_type"].as_i64().unwrap() {
                0x10_0000 => "string_value",
                0x20_0000 | 0x40_0000 | 0x41_0000 => "int32_values",
                0x51_0000 => "int64_values",
                0x60_0000 => "float_values",
                other => panic!("{config}: {other:#x}"),
            };
            assert_eq!(members, [expected], "{config}");
            assert!(answer["error"].is_null());
        }
    }

    #[test]
    fn a_value_that_was_set_is_got() {
        let mut vehicle = Vehicle::default();
        let asked = json!({"prop": OIL_TEMPERATURE, "area_id": 0, "float_values": [101.5]});
        assert!(vehicle.set(&asked)["error"].is_null());
        assert_eq!(vehicle.get(OIL_TEMPERATURE, 0)["float_values"], json!([101.5]));
    }

    #[test]
    fn what_is_not_there_or_does_not_fit_is_refused_and_changes_nothing() {
        let mut vehicle = Vehicle::default();
        assert!(vehicle.get(1, 0)["error"].is_string());
        assert!(vehicle.get(OIL_TEMPERATURE, 7)["error"].is_string());
        for wrong in [
            json!({"prop": OIL_TEMPERATURE, "int32_values": [1]}),
            json!({"prop": OIL_TEMPERATURE, "float_values": ["hot"]}),
            json!({"prop": OIL_TEMPERATURE, "float_values": vec![1.0; MAX_LENGTH + 1]}),
            json!({"prop": OIL_TEMPERATURE}),
            json!({"prop": 289_409_539, "int32_values": [1_i64 << 40]}),
            json!({"prop": 1, "int32_values": [1]}),
            json!(null),
        ] {
            assert!(vehicle.set(&wrong)["error"].is_string(), "{wrong}");
        }
        assert_eq!(vehicle.get(OIL_TEMPERATURE, 0)["float_values"], json!([101.0]));
    }
}
