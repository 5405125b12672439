//! The table of endpoints. Names of metrics are those of the documented ones where there are any.

#[cfg(test)]
use std::collections::{BTreeMap, BTreeSet};

use actix_web::middleware::from_fn;
use actix_web::web::{self, Data, ServiceConfig};
use stream_bridge::SignalConnection;
use stream_http::endpoints;
#[cfg(test)]
use stream_http::health::{Liveness, Readiness};
#[cfg(test)]
use stream_http::openapi::EndpointDoc;
use stream_http::openapi::{Document, serve};
use stream_protocol::Op;

use crate::state::State;
use crate::{
    account_list, agents, catalog, events, explanation, health, live_config, metrics, middleware,
    relays, sessions, shares, socket, web_ui,
};
#[cfg(test)]
use crate::{agent_view, relay_view, settings};

/// The document at `/1.0/openapi.json`, which the test `openapi` keeps true.
const DOCUMENT: Document = Document::new(include_bytes!("../openapi.json"));

endpoints! {
    GET "/metrics" Some(Op::StatusRead) => metrics::scrape as "get_metrics":
        EndpointDoc::new("scrapeMetrics", "Tells Prometheus what is counted").answers_text(),
    GET "/1.0/openapi.json" None => serve as "get_openapi":
        EndpointDoc::new("readOpenApi", "Tells what this API is").answers_document(),
    GET "/1.0/accounts" Some(Op::AccountRead) => account_list::list as "get_accounts":
        EndpointDoc::new("listAccounts", "Lists the accounts, without their tokens")
            .answers::<Vec<crate::admin::AccountInfo>>(),
    GET "/1.0/agents" Some(Op::AgentRead) => agents::list as "get_agents":
        EndpointDoc::new("listAgents", "Shows every agent, as it says itself how it is")
            .answers::<Vec<agent_view::AgentView>>(),
    POST "/1.0/agents/{id}/drain" Some(Op::AgentDrain) => agents::drain as "drain_agent":
        EndpointDoc::new("drainAgent", "Has an agent leave its sessions to others, and stay")
            .query::<agents::DrainQuery>().refuses(&[409, 503]),
    DELETE "/1.0/agents/{id}/drain" Some(Op::AgentDrain) => agents::cancel_drain
        as "cancel_drain_of_agent":
        EndpointDoc::new("cancelDrainOfAgent", "Has an agent that drains take sessions again")
            .refuses(&[409, 503]),
    GET "/1.0/applications" Some(Op::ApplicationRead) => catalog::applications
        as "get_applications":
        EndpointDoc::new("listApplications", "Lists what can be streamed").answers::<BTreeSet<catalog::Named>>(),
    GET "/1.0/config" Some(Op::ConfigRead) => live_config::read as "get_config":
        EndpointDoc::new("readConfig", "Shows what operators may change while gateways run")
            .answers::<BTreeMap<&str, String>>(),
    PATCH "/1.0/config" Some(Op::ConfigUpdate) => live_config::change as "update_config":
        EndpointDoc::new("changeConfig", "Changes one value for all gateways; answers with all")
            .body::<settings::ConfigPatch>().answers::<BTreeMap<&str, String>>(),
    GET without HEAD "/1.0/events" Some(Op::EventRead) => events::open as "get_events":
        EndpointDoc::new("followEvents", "Tells sessions, shares, agents and relays as they change")
            .answers_events().refuses(&[429]),
    GET "/1.0/health/live" None => health::live as "get_health_live":
        EndpointDoc::new("checkLiveness", "Tells that the process answers").answers::<Liveness>(),
    GET "/1.0/health/ready" Some(Op::StatusRead) => health::ready as "get_health_ready":
        EndpointDoc::new("checkReadiness", "Tells which dependency is away; with a token, why")
            .more_with_token().answers::<Readiness>().refuses(&[503]),
    GET "/1.0/regions" Some(Op::RegionRead) => catalog::regions as "get_regions":
        EndpointDoc::new("listRegions", "Lists where there are agents").answers::<BTreeSet<catalog::Named>>(),
    GET "/1.0/relays" Some(Op::RelayRead) => relays::list as "get_relays":
        EndpointDoc::new("listRelays", "Shows how the relays answer the agents, the worst first")
            .answers::<Vec<relay_view::RelayView>>(),
    GET "/1.0/status" Some(Op::StatusRead) => catalog::status as "get_service_status":
        EndpointDoc::new("readStatus", "Tells whether the service is healthy; with a token, more")
            .more_with_token().answers::<catalog::Status>(),
    GET "/1.0/sessions" Some(Op::SessionRead) => sessions::endpoints::list_sessions
        as "get_sessions":
        EndpointDoc::new("listSessions", "Lists sessions")
            .query::<sessions::listing::ListQuery>().answers::<sessions::endpoints::Listed<'_>>(),
    POST "/1.0/sessions" Some(Op::SessionCreate) => sessions::endpoints::create_session
        as "create_new_session":
        EndpointDoc::new("createSession", "Has an instance launched; answers before it has booted")
            .idempotency_key("A request that is repeated with its key finds its first session")
            .query::<sessions::request::ClientQuery>()
            .body::<sessions::request::SessionPost>()
            .creates::<sessions::endpoints::CreatedSession<'_>>().refuses(&[404])
            .leads_to(&["readSession", "joinSession", "shareSession", "deleteSession"]),
    DELETE "/1.0/sessions" Some(Op::SessionDelete) => sessions::deletion::delete_sessions
        as "delete_sessions":
        EndpointDoc::new("deleteSessions", "Has many sessions end; tells of each that does not")
            .query::<sessions::deletion::DeleteQuery>().body::<sessions::deletion::SessionIds>()
            .answers::<sessions::deletion::DeletedSessions>().also(&[202, 207]).refuses(&[404]),
    GET "/1.0/sessions/{id}" Some(Op::SessionRead) => sessions::endpoints::read_session
        as "get_session":
        EndpointDoc::new("readSession", "Shows a session").answers::<sessions::endpoints::SessionView<'_>>(),
    DELETE "/1.0/sessions/{id}" Some(Op::SessionDelete) => sessions::deletion::delete_session
        as "delete_session":
        EndpointDoc::new("deleteSession", "Has a session end")
            .query::<sessions::deletion::DeleteQuery>(),
    GET "/1.0/sessions/{id}/timeline" Some(Op::SessionExplain) => explanation::read_timeline
        as "get_session_timeline":
        EndpointDoc::new("explainSession", "Tells what happened to a session in the last hour")
            .answers::<explanation::Timeline>(),
    POST "/1.0/sessions/{id}/join" Some(Op::SessionJoin) => sessions::endpoints::join_session
        as "join_session":
        EndpointDoc::new(
            "joinSession",
            "Makes the caller the client, instead of whoever was it; a session that is not \
             joinable is joined by its first client alone",
        )
            .query::<sessions::request::ClientQuery>()
            .optional_body::<sessions::request::SessionJoin>()
            .answers::<sessions::endpoints::JoinedSession<'_>>().refuses(&[409]),
    POST "/1.0/sessions/{id}/share" Some(Op::ShareCreate) => shares::endpoints::create
        as "share_session":
        EndpointDoc::new(
            "shareSession",
            "Makes a link that lets whoever has it join, if the session is joinable, or use its adb",
        )
            .body::<shares::SharePost>().answers::<shares::endpoints::ShareView<'_>>()
            .refuses(&[409]).leads_to(&["readShare", "changeShare", "deleteShare"]),
    GET without HEAD "/1.0/sessions/{id}/connect" Some(Op::SessionJoin) => shares::endpoints::connect
        as "connect_session":
        EndpointDoc::new("connectToSession", "Joins, or connects to adb, with the token of a share")
            .token_in_query().query::<shares::endpoints::ConnectQuery>()
            .answers::<sessions::endpoints::JoinedSession<'_>>().refuses(&[409]),
    GET without HEAD "/1.0/session/{id}/connect" Some(Op::SessionJoin) => shares::endpoints::connect
        as "connect_session":
        EndpointDoc::new("connectToSessionByOldPath", "The same by the name of older releases")
            .token_in_query().query::<shares::endpoints::ConnectQuery>()
            .answers::<sessions::endpoints::JoinedSession<'_>>().refuses(&[409]),
    GET without HEAD "/1.0/sessions/{id}/sockets/slave" Some(Op::SignalWrite) => socket::open
        as "streaming_websocket_slave":
        EndpointDoc::new("openSocket", "Relays signals between client and instance")
            .token_in_query().query::<socket::SocketQuery>().opens_socket(),
    GET without HEAD "/1.0/session/{id}/sockets/slave" Some(Op::SignalWrite) => socket::open
        as "streaming_websocket_slave":
        EndpointDoc::new("openSocketByOldPath", "The same by the name of older releases")
            .token_in_query().query::<socket::SocketQuery>().opens_socket(),
    GET without HEAD "/1.0/sessions/{id}/sockets/adb" Some(Op::SignalWrite) => socket::open_adb
        as "streaming_websocket_adb":
        EndpointDoc::new("openAdbSocket", "Relays signals between a user of ADB and the instance")
            .token_in_query().query::<socket::SocketQuery>().opens_socket(),
    GET without HEAD "/1.0/session/{id}/sockets/adb" Some(Op::SignalWrite) => socket::open_adb
        as "streaming_websocket_adb":
        EndpointDoc::new("openAdbSocketByOldPath", "The same by the name of older releases")
            .token_in_query().query::<socket::SocketQuery>().opens_socket(),
    GET without HEAD "/1.0/sessions/{id}/sockets/master" None => socket::refuse_instance
        as "streaming_websocket_master":
        EndpointDoc::new("openInstanceSocket", "Is for nobody: instances connect to their agent")
            .never_succeeds(403),
    GET without HEAD "/1.0/session/{id}/sockets/master" None => socket::refuse_instance
        as "streaming_websocket_master":
        EndpointDoc::new("openInstanceSocketByOldPath", "The same by the name of older releases")
            .never_succeeds(403),
    GET "/1.0/shares" Some(Op::ShareRead) => shares::endpoints::list as "get_shares":
        EndpointDoc::new("listShares", "Lists the shares of live sessions")
            .query::<shares::ListQuery>().answers::<shares::endpoints::Listed<'_>>(),
    GET "/1.0/shares/{id}" Some(Op::ShareRead) => shares::endpoints::read as "get_share":
        EndpointDoc::new("readShare", "Shows a share with its link")
            .answers::<shares::endpoints::ShareView<'_>>(),
    POST "/1.0/shares/{id}/qr" Some(Op::ShareRead) => shares::endpoints::draw as "draw_share":
        EndpointDoc::new("drawShare", "Draws the link of a share as a QR code").answers_svg(),
    PATCH "/1.0/shares/{id}" Some(Op::ShareUpdate) => shares::endpoints::change as "update_share":
        EndpointDoc::new("changeShare", "Changes a share; its link stays the same")
            .body::<shares::SharePatch>().answers::<shares::endpoints::ShareView<'_>>(),
    DELETE "/1.0/shares/{id}" Some(Op::ShareDelete) => shares::endpoints::delete as "delete_share":
        EndpointDoc::new("deleteShare", "Ends a share and cuts off whoever came through it")
            .query::<shares::endpoints::DeleteQuery>(),
}

/// Adds all endpoints, the page, and what their handlers share.
pub(crate) fn configure(app: &mut ServiceConfig, state: &Data<State>) {
    app.app_data(state.clone());
    app.app_data(Data::new(DOCUMENT));
    app.app_data(Data::new(SignalConnection::start(&state.bridge)));
    let routes = |app: &mut ServiceConfig| {
        add_endpoints(app);
        web_ui::configure(app);
    };
    app.service(web::scope("").wrap(from_fn(middleware::mark)).configure(routes));
}
