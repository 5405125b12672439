use super::*;
use crate::ams::applications::Manifest;

fn request(body: Value) -> NewInstance {
    serde_json::from_value(body).expect("a request")
}

fn manifest(name: &str) -> Manifest {
    serde_json::from_value(json!({ "name": name })).expect("a manifest")
}

fn images() -> Images {
    Images::new(&["jammy:x:amd64".to_owned()], 0)
}

fn launched(instances: &mut Instances, name: &str, tags: &[&str]) -> Instance {
    let apps = [Application::ready("app", None, 0)];
    let body = json!({"name": name, "app_id": "app", "tags": tags, "user_data": "secret"});
    instances.create(request(body), &apps, &Images::default(), 0).expect("a launch")
}

#[test]
fn the_zero_values_of_go_clients_are_not_given() {
    let apps = [Application::ready("app", None, 0)];
    let body = json!({
        "name": "", "type": "", "app_id": apps[0].id, "app_version": null, "image_id": "",
        "image_version": null, "node": "", "user_data": "", "addons": null, "services": null,
        "resources": {"cpus": null, "memory": null, "disk_size": null}, "tags": null,
        "config": {"display": {"width": 0, "height": 0, "fps": 0, "density": 0}},
        "source": {"type": "", "id": ""},
    });
    let instance =
        Instances::default().create(request(body), &apps, &Images::default(), 7).expect("a launch");
    assert_eq!(instance.name, format!("ams-{}", instance.id));
    assert_eq!((instance.app_name.as_str(), instance.app_version), ("app", 1));
    let shown = json!(instance);
    assert_eq!(shown["tags"], json!([]));
    assert_eq!(shown["services"], json!([]));
    assert_eq!(shown["status"], json!("created"));
    assert_eq!(shown["status_code"], json!(1));
    assert_eq!(shown["created_at"], json!(7));
}

#[test]
fn the_size_of_the_disk_is_answered_with_a_hyphen() {
    let body = json!({"image_id": "jammy:x:amd64", "resources": {"disk_size": 3, "gpu-slots": 1}});
    let instance = Instances::default().create(request(body), &[], &images(), 0).expect("a launch");
    let shown = json!(instance);
    assert_eq!(shown["resources"]["disk-size"], json!(3));
    assert_eq!(shown["resources"]["gpu-slots"], json!(1));
}

#[test]
fn a_launch_that_cannot_be_is_refused_by_what_is_wrong() {
    let mut instances = Instances::default();
    let raw = Application::new(manifest("raw"), None, false, 0);
    let apps = [Application::ready("app", None, 0), raw];
    let mut refusal = |body| {
        instances.create(request(body), &apps, &Images::default(), 0).expect_err("a refusal")
    };
    assert_eq!(refusal(json!({})), ApiError::Invalid("app_id"));
    assert_eq!(refusal(json!({"app_id": "none"})), ApiError::NotFound("application"));
    assert_eq!(refusal(json!({"image_id": "none"})), ApiError::NotFound("image"));
    assert_eq!(refusal(json!({"app_id": "app", "node": "none"})), ApiError::NotFound("node"));
    assert!(matches!(refusal(json!({"app_id": "raw"})), ApiError::NotAllowed(_)));
    assert_eq!(refusal(json!({"app_id": "app", "name": "a/b"})), ApiError::Invalid("name"));
    let user_data = "x".repeat(MAX_USERDATA_BYTES + 1);
    let body = json!({"app_id": "app", "user_data": user_data});
    assert_eq!(refusal(body), ApiError::Invalid("user_data"));
    let body = json!({"app_id": "app", "source": {"type": "instance", "id": "x"}});
    assert_eq!(refusal(body), ApiError::Invalid("source"));
    let body = json!({"source": {"type": "snapshot", "id": "x"}});
    assert_eq!(refusal(body), ApiError::Invalid("source"));
    let body = json!({"source": {"type": "instance", "id": "x"}});
    assert_eq!(refusal(body), ApiError::NotFound("instance"));
}

#[test]
fn a_copy_is_what_a_stopped_instance_is_but_for_name_and_tags() {
    let mut instances = Instances::default();
    let original = launched(&mut instances, "one", &["session=s", "a"]);
    let mut copy = |body: Value| instances.create(request(body), &[], &Images::default(), 0);
    let body = json!({"name": "two", "tags": ["b"], "source": {"type": "instance", "id": "one"}});
    let refused = copy(body.clone()).expect_err("it is not stopped");
    assert_eq!(refused, ApiError::NotAllowed("copying an instance that is not stopped"));
    instances.ended(&original.id, &Ok(()));
    let copy = instances.create(request(body), &[], &Images::default(), 0).expect("a copy");
    assert_ne!(copy.id, original.id);
    assert_eq!((copy.name.as_str(), copy.tags.as_slice()), ("two", ["b".to_owned()].as_slice()));
    assert_eq!((&copy.app_id, copy.app_version), (&original.app_id, original.app_version));
    assert_eq!((copy.config, copy.status), (original.config, Status::Created));
    assert_eq!(instances.user_data(&copy.id).from_launch, "secret");
}

#[test]
fn a_failed_instance_leaves_a_log() {
    let mut instances = Instances::default();
    let id = launched(&mut instances, "one", &[]).id;
    assert_eq!(instances.log("one", LOG), Err(ApiError::NotFound("log")));
    instances.ended(&id, &Err("no picture".to_owned()));
    let urls = instances.find("one").expect("an instance").log_urls();
    assert_eq!(urls, [format!("/1.0/instances/{id}/logs/container.log")]);
    assert_eq!(instances.log(&id, LOG).as_deref(), Ok("no picture\n"));
    assert_eq!(instances.log(&id, "other"), Err(ApiError::NotFound("log")));
}

#[test]
fn a_name_is_taken_until_its_instance_is_removed() {
    let mut instances = Instances::default();
    let apps = [Application::ready("app", None, 0)];
    let body = || request(json!({"name": "twin", "app_id": "app"}));
    let first = instances.create(body(), &apps, &Images::default(), 0).expect("a launch");
    assert_eq!(
        instances.create(body(), &apps, &Images::default(), 0).err(),
        Some(ApiError::Exists("instance"))
    );
    instances.remove(&first.id);
    assert!(instances.create(body(), &apps, &Images::default(), 0).is_ok());
}

#[test]
fn a_late_step_undoes_neither_a_deletion_nor_an_end() {
    let mut instances = Instances::default();
    let id = launched(&mut instances, "one", &[]).id;
    instances.advance(&id, Status::Running);
    instances.advance(&id, Status::Prepared);
    assert_eq!(instances.find(&id).expect("there").status, Status::Running);
    instances.advance(&id, Status::Deleted);
    instances.ended(&id, &Err("late".to_owned()));
    instances.advance(&id, Status::Running);
    assert_eq!(instances.find(&id).expect("there").status, Status::Deleted);
    assert!(instances.restart(&id).is_err(), "a deleted instance was started");
}

#[test]
fn a_failed_instance_says_why_and_can_be_started_again() {
    let mut instances = Instances::default();
    let id = launched(&mut instances, "one", &[]).id;
    instances.advance(&id, Status::Started);
    instances.ended(&id, &Err("no agent".to_owned()));
    let failed = instances.find("one").expect("there");
    assert_eq!((failed.status, failed.error_message.as_str()), (Status::Error, "no agent"));
    assert_eq!(json!(failed)["status_code"], json!(-1));
    assert_eq!(instances.restart(&id), Ok(()));
    assert_eq!(instances.find("one").expect("there").error_message, "");
}

#[test]
fn a_list_holds_what_has_all_the_tags() {
    let mut instances = Instances::default();
    launched(&mut instances, "one", &["session=1", "deployment=a"]);
    launched(&mut instances, "two", &["session=2", "deployment=a"]);
    let names = |filter: Value| -> Vec<&str> {
        let filter: Filter = serde_json::from_value(filter).expect("a filter");
        let admitted = instances.all().filter(|instance| filter.admits(instance));
        admitted.map(|instance| instance.name.as_str()).collect()
    };
    assert_eq!(names(json!({})), ["one", "two"]);
    assert_eq!(names(json!({"tags": "deployment=a"})), ["one", "two"]);
    assert_eq!(names(json!({"tags": "deployment=a,session=2"})), ["two"]);
    assert!(names(json!({"tags": "deployment=a,session=3"})).is_empty());
    assert_eq!(names(json!({"name": "one", "app_name": "app", "status": "created"})), ["one"]);
    assert!(names(json!({"app_id": "none"})).is_empty());
}

#[test]
fn a_protected_instance_is_not_deleted() {
    let mut instances = Instances::default();
    let body =
        json!({"image_id": "jammy:x:amd64", "config": {"security": {"delete_protected": true}}});
    let id = instances.create(request(body), &[], &images(), 0).expect("a launch").id;
    assert!(matches!(instances.deletable(&id), Err(ApiError::NotAllowed(_))));
    instances.protect(&id, false);
    assert_eq!(instances.deletable(&id), Ok(id.clone()));
}

#[test]
fn user_data_is_kept_and_not_shown() {
    let mut instances = Instances::default();
    let instance = launched(&mut instances, "one", &[]);
    assert_eq!(instances.user_data(&instance.id).from_launch, "secret");
    assert!(!json!(instance).to_string().contains("secret"));
    assert!(!format!("{instance:?}").contains("secret"));
}

#[test]
fn a_raw_instance_runs_an_image_and_no_application() {
    let body = json!({"image_id": "jammy:x:amd64", "app_id": ""});
    let instance = Instances::default().create(request(body), &[], &images(), 0).expect("a launch");
    let shown = json!(instance);
    assert_eq!((&shown["app_id"], &shown["app_name"]), (&json!(""), &json!("")));
    assert_eq!(shown["image_name"], json!("jammy:x:amd64"));
    assert_ne!(shown["image_id"], json!(""));
}

#[test]
fn a_session_is_given_once_and_to_what_streams_only() {
    let mut instances = Instances::default();
    let plain = launched(&mut instances, "plain", &[]).id;
    assert!(instances.without_session(&plain).is_none());
    let body = json!({
        "image_id": "jammy:x:amd64", "user_data": "own", "config": {"enable_streaming": true},
    });
    let id = instances.create(request(body), &[], &images(), 0).expect("a launch").id;
    assert!(instances.without_session(&id).is_some());
    let session: SessionId = "abcdefghij0123456789".parse().expect("an id");
    instances.give_session(&id, &session, "user_data".to_owned());
    assert!(instances.without_session(&id).is_none());
    let user_data = instances.user_data(&id);
    assert_eq!(
        (user_data.from_launch.as_str(), user_data.session.as_deref()),
        ("own", Some("user_data"))
    );
    assert_eq!(instances.find(&id).expect("there").tags, ["session=abcdefghij0123456789"]);
}

#[test]
fn only_what_is_on_the_node_takes_room_there() {
    let mut instances = Instances::default();
    let ids = ["one", "two", "three"].map(|name| launched(&mut instances, name, &[]).id);
    assert_eq!(instances.placed(), 0);
    for id in &ids {
        instances.advance(id, Status::Prepared);
    }
    instances.advance(&ids[0], Status::Running);
    instances.ended(&ids[1], &Ok(()));
    instances.advance(&ids[2], Status::Deleted);
    assert_eq!(instances.placed(), 1);
}
