//! A server with people, connectors and an alert that fires, on a port of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use rounds_core::access::{Action, OrgRole, Principal, Scope};
use rounds_core::alert::{Condition, Operator, Severity};
use rounds_core::investigation::{Proposal, ProposedStep};
use rounds_core::plan::{Plan, PlanStatus};
use rounds_core::ports::Investigator;
use rounds_core::service::{ConnectorDraft, PlanFilter, ProposeRequest, RuleDraft};
use rounds_core::step::StepSpec;
use rounds_core::{AlertRuleId, ConnectorId, PlanId, Rounds};
use rounds_server::accounts::{GrantDraft, UserDraft};
use rounds_server::auth::Peer;
use rounds_server::settings::{Overrides, ServerSettings};
use rounds_server::{App, AppState, Boot};
use secrecy::SecretString;
use serde_json::json;
use tokio::net::TcpListener;

use crate::shop::{Doctor, Shop, registry};

/// The password of everybody here.
pub const PASSWORD: &str = "correct horse battery";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A running server.
pub struct World {
    pub base: String,
    pub state: AppState,
    pub shop: Shop,
    pub admin: Principal,
    pub cluster: ConnectorId,
    /// While it is set, a proxy answers in the place of the stream of events, as while its server restarts.
    pub no_events: Arc<AtomicBool>,
    name: String,
    _dir: tempfile::TempDir,
}

impl World {
    /// A server without anybody.
    pub async fn empty() -> Self {
        Self::start(true, Doctor, |_| {}).await
    }

    /// A server with people whose settings are others.
    #[cfg(feature = "oidc")]
    pub async fn with(change: impl FnOnce(&mut ServerSettings)) -> Self {
        Self::start(true, Doctor, change).await.peopled().await
    }

    /// A server without anybody, whose pages cannot load their scripts.
    pub async fn empty_without_scripts() -> Self {
        Self::start(false, Doctor, |_| {}).await
    }

    /// What tells its shop from those of other servers.
    pub fn name(&self) -> &str {
        &self.name
    }

    async fn start(
        scripts: bool,
        investigator: impl Investigator + 'static,
        change: impl FnOnce(&mut ServerSettings),
    ) -> Self {
        let name = format!("shop{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let shop = Shop::open(&name);
        let dir = tempfile::tempdir().unwrap();
        let overrides = Overrides { data_dir: Some(dir.path().to_path_buf()), ..Overrides::default() };
        let mut settings = ServerSettings::read(&|_| None, overrides).unwrap();
        settings.outbound = rounds_core::plugin::Outbound::loopback();
        settings.core.verification_stable = Duration::from_secs(2);
        settings.core.poll_interval = Duration::from_millis(300);
        settings.core.progress_interval = Duration::from_millis(100);
        change(&mut settings);
        // As the program does before it starts a server.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let boot =
            Boot { settings, registry: registry(), investigator: Some(Arc::new(investigator)), without: Vec::new() };
        let mut app = App::start(boot).await.unwrap();
        if !scripts {
            app.router = app.router.layer(axum::middleware::from_fn(no_scripts));
        }
        let no_events = Arc::new(AtomicBool::new(false));
        let proxy = axum::middleware::from_fn_with_state(no_events.clone(), no_stream);
        app.router = app.router.layer(proxy);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let state = app.state.clone();
        tokio::spawn(app.serve(listener, std::future::pending()));
        let admin = Principal::user(rounds_core::OrgId::default(), "nobody", OrgRole::Viewer);
        Self { base, state, shop, admin, cluster: ConnectorId::new(), no_events, name, _dir: dir }
    }

    /// A server with people and connectors. `ada` administers it, `ed` may auto-edit in `shop`, `eve` is an Editor,
    /// `vera` is a Viewer.
    pub async fn new() -> Self {
        Self::empty().await.peopled().await
    }

    /// The same, whose pages cannot load their scripts.
    pub async fn without_scripts() -> Self {
        Self::start(false, Doctor, |_| {}).await.peopled().await
    }

    /// The same as a new one, with somebody else who investigates.
    pub async fn investigated_by(investigator: impl Investigator + 'static) -> Self {
        Self::start(true, investigator, |_| {}).await.peopled().await
    }

    async fn peopled(self) -> Self {
        let mut world = self;
        let accounts = &world.state.accounts;
        accounts.first_admin(person("ada", "Ada Admin", OrgRole::Admin)).await.unwrap();
        let signed_in = accounts
            .sign_in("ada", SecretString::from(PASSWORD), &Peer::at([127, 0, 0, 1].into()))
            .await
            .unwrap()
            .unwrap();
        world.admin = signed_in.principal;
        for (login, name, role) in [
            ("ed", "Ed Editor", OrgRole::Editor),
            ("eve", "Eve Editor", OrgRole::Editor),
            ("vera", "Vera Viewer", OrgRole::Viewer),
        ] {
            accounts.create_user(&world.admin, person(login, name, role)).await.unwrap();
        }
        let grant = GrantDraft {
            subject: "user:ed".into(),
            action: Some(Action::PlansAutoEdit),
            scope: Some(Scope::plan_namespace("shop")),
            role: None,
        };
        accounts.add_grant(&world.admin, &grant).await.unwrap();
        let name = &world.name;
        let connectors = world.rounds().connectors();
        let cluster = ConnectorDraft {
            kind: "kubernetes".into(),
            name: "prod-eu".into(),
            config: json!({ "cluster": name, "allowedNamespaces": ["shop", "payments"] }),
            secret: Some(SecretString::from("not a real kubeconfig")),
            secret_ref: None,
            is_default: true,
            owner_team_id: None,
            routing: None,
        };
        let cluster = connectors.create(&world.admin, cluster).await.unwrap().id;
        let metrics = ConnectorDraft {
            kind: "prometheus".into(),
            name: "metrics".into(),
            config: json!({ "url": format!("http://{name}.test:9090") }),
            secret: None,
            secret_ref: None,
            is_default: true,
            owner_team_id: None,
            routing: None,
        };
        connectors.create(&world.admin, metrics).await.unwrap();
        world.cluster = cluster;
        world
    }

    pub fn rounds(&self) -> &Rounds {
        &self.state.rounds
    }

    /// A token for investigations.
    pub async fn mint(&self) {
        self.state.accounts.mint_token(&self.admin, self.state.agent, "laptop", None).await.unwrap();
    }

    /// A rule that is evaluated every second.
    pub async fn rule(&self, name: &str, query: &str, threshold: f64, severity: Severity) -> AlertRuleId {
        let draft = RuleDraft {
            annotations: Default::default(),
            series: Default::default(),
            absent_is_zero: false,
            name: name.into(),
            description: "More than 5 % of requests fail. Orders are lost.".into(),
            condition: Condition {
                query: query.into(),
                operator: Operator::Gt,
                threshold,
                for_duration_sec: 0,
                keep_firing_for_sec: 0,
            },
            evaluation_interval_sec: 1,
            severity,
            labels: [("namespace", "shop"), ("deployment", "checkout")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            datasource_id: None,
            owner_team_id: None,
        };
        self.rounds().alerts().create(&self.admin, draft).await.unwrap().rule.id
    }

    /// The whole line up to a plan that waits: the shop breaks, its alert fires and is investigated.
    pub async fn incident(&self) -> Plan {
        self.mint().await;
        self.shop.break_since(TimeDelta::minutes(8));
        let query = "sum(rate(http_errors_total{deployment=\"checkout\"}[5m]))";
        self.rule("Checkout error rate", query, 0.05, Severity::Critical).await;
        self.until_some(async || {
            let filter = PlanFilter { statuses: vec![PlanStatus::PendingApproval], ..PlanFilter::default() };
            let plans = self.rounds().plans().list(&self.admin, &filter).await.unwrap().items;
            plans.into_iter().find(|plan| plan.investigation_id.is_some())
        })
        .await
    }

    /// A plan of these commands, proposed by the admin.
    pub async fn plan(&self, summary: &str, commands: &[&[&str]], rescue: bool) -> Plan {
        let steps = |commands: &[&[&str]]| {
            let step = |argv: &&[&str]| ProposedStep::new(self.cluster, StepSpec::command(argv.iter().copied()));
            commands.iter().map(step).collect::<Vec<_>>()
        };
        let undo = &[&["rollout", "undo", "deployment/checkout", "-n", "shop"][..]];
        let request = ProposeRequest::from(Proposal::new(summary).with_steps(steps(commands)))
            .with_rescue(rescue.then(|| Proposal::new(format!("Undo: {summary}")).with_steps(steps(undo))));
        self.rounds().plans().propose(&self.admin, request).await.unwrap().plan
    }

    /// Waits until a plan has a status.
    pub async fn until(&self, id: PlanId, status: PlanStatus) -> Plan {
        self.until_some(async || {
            let plan = self.rounds().plans().get(&self.admin, id).await.unwrap();
            (plan.status == status).then_some(plan)
        })
        .await
    }

    /// Waits until there is something, at most twenty seconds.
    pub async fn until_some<T>(&self, look: impl AsyncFn() -> Option<T>) -> T {
        for _ in 0..200 {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("what was waited for did not come within 20 s");
    }
}

async fn no_scripts(request: axum::extract::Request, next: axum::middleware::Next) -> axum::response::Response {
    if request.uri().path().ends_with(".js") {
        return axum::response::IntoResponse::into_response(axum::http::StatusCode::NOT_FOUND);
    }
    next.run(request).await
}

async fn no_stream(
    axum::extract::State(is_away): axum::extract::State<Arc<AtomicBool>>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> axum::response::Response {
    if request.uri().path() == "/api/events" && is_away.load(Ordering::SeqCst) {
        return axum::response::IntoResponse::into_response(axum::http::StatusCode::BAD_GATEWAY);
    }
    next.run(request).await
}

fn person(login: &str, name: &str, role: OrgRole) -> UserDraft {
    UserDraft {
        email: Some(format!("{login}@shop.example")),
        login: login.into(),
        name: Some(name.into()),
        password: SecretString::from(PASSWORD),
        org_role: role,
        is_admin: role == OrgRole::Admin,
    }
}
