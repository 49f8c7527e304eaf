//! Client quotas, in their lowest and highest version.

use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::describe_user_scram_credentials_request::UserName;
use kafka_protocol::messages::{
    AlterClientQuotasRequest, DescribeClientQuotasRequest, DescribeUserScramCredentialsRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::support::{bootstrap, unique, until};
use super::wire::ask_at;

const INVALID_REQUEST: i16 = 42;
const UNSUPPORTED_VERSION: i16 = 35;
const RESOURCE_NOT_FOUND: i16 = 91;
const DUPLICATE_RESOURCE: i16 = 92;
const EXACT: i8 = 0;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Sets (or, without a value, removes) one key of one entity; returns the error code.
pub fn alter(
    address: &str,
    version: i16,
    entity: &[(&str, Option<&str>)],
    op: (&str, Option<f64>),
    validate_only: bool,
) -> i16 {
    let parts = entity.iter().map(|(kind, name)| {
        EntityData::default().with_entity_type(text(kind)).with_entity_name(name.map(text))
    });
    let (key, value) = op;
    let op = OpData::default()
        .with_key(text(key))
        .with_value(value.unwrap_or_default())
        .with_remove(value.is_none());
    let entry = EntryData::default().with_entity(parts.collect()).with_ops(vec![op]);
    let request =
        AlterClientQuotasRequest::default().with_entries(vec![entry]).with_validate_only(validate_only);
    ask_at(address, &request, version).entries[0].error_code
}

/// What an exact, strict filter finds: the quotas of that entity.
pub fn describe(address: &str, version: i16, kind: &str, name: &str) -> Result<Vec<(String, f64)>, i16> {
    let component = ComponentData::default()
        .with_entity_type(text(kind))
        .with_match_type(EXACT)
        .with_match(Some(text(name)));
    let request = DescribeClientQuotasRequest::default().with_components(vec![component]).with_strict(true);
    let answer = ask_at(address, &request, version);
    if answer.error_code != 0 {
        return Err(answer.error_code);
    }
    let entries = answer.entries.unwrap();
    let values = entries.iter().flat_map(|e| e.values.iter().map(|v| (v.key.to_string(), v.value)));
    Ok(values.collect())
}

#[test]
fn quotas_are_set_told_and_removed() {
    for version in [0, 1] {
        let (at, user) = (bootstrap(), unique("user"));
        let entity = [("user", Some(&*user))];
        let rate = "producer_byte_rate";
        assert_eq!(alter(at, version, &entity, (rate, Some(1024.0)), true), 0);
        assert_eq!(describe(at, version, "user", &user), Ok(vec![]), "v{version}: only validated");
        assert_eq!(alter(at, version, &entity, (rate, Some(1024.0)), false), 0);
        let set = vec![(rate.to_string(), 1024.0)];
        // Kafka's brokers follow their controller.
        let told = |expected: &Vec<(String, f64)>| {
            until("the quotas", || {
                (describe(at, version, "user", &user).as_ref() == Ok(expected)).then_some(())
            });
        };
        told(&set);
        let with_client = [("user", Some(&*user)), ("client-id", None)];
        assert_eq!(alter(at, version, &with_client, (rate, Some(1.0)), false), 0);
        told(&set);
        assert_eq!(alter(at, version, &with_client, (rate, None), false), 0);
        assert_eq!(alter(at, version, &entity, (rate, None), false), 0);
        told(&vec![]);
    }
}

#[test]
fn what_kafka_refuses_to_set_or_to_find_is_refused_with_its_error() {
    let at = bootstrap();
    let refused =
        |entity: &[(&str, Option<&str>)], key, value| alter(at, 1, entity, (key, Some(value)), false);
    assert_eq!(refused(&[("user", Some("u"))], "no_such_rate", 1.0), INVALID_REQUEST);
    assert_eq!(refused(&[("user", Some("u"))], "producer_byte_rate", 0.0), INVALID_REQUEST);
    assert_eq!(refused(&[("nobody", None)], "producer_byte_rate", 1.0), INVALID_REQUEST);
    assert_eq!(refused(&[("ip", None), ("user", None)], "connection_creation_rate", 1.0), INVALID_REQUEST);
    assert_eq!(describe(at, 1, "group", "g"), Err(UNSUPPORTED_VERSION));
}

/// `kafka-configs --describe --entity-type users` asks for SCRAM credentials beside quotas: there are none.
#[test]
fn nobody_has_credentials() {
    let ask = |users: Option<&[&str]>| {
        let users = users.map(|all| all.iter().map(|u| UserName::default().with_name(text(u))).collect());
        let answer =
            ask_at(bootstrap(), &DescribeUserScramCredentialsRequest::default().with_users(users), 0);
        assert_eq!(answer.error_code, 0);
        answer.results.iter().map(|r| (r.user.to_string(), r.error_code)).collect::<Vec<_>>()
    };
    assert_eq!(ask(None), []);
    assert_eq!(
        ask(Some(&["a", "b", "a"])),
        [("a".to_string(), DUPLICATE_RESOURCE), ("b".to_string(), RESOURCE_NOT_FOUND)]
    );
}
