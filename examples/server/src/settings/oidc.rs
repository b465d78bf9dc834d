//! Sign-in with an OpenID Connect provider.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rounds_core::access::OrgRole;
use secrecy::SecretString;
use url::{Host, Url};

use super::{Env, InvalidVariable, invalid};

/// The provider, and what its word counts for.
#[derive(Debug, Clone)]
pub struct OidcSettings {
    /// Who the provider is, exactly as it calls itself.
    pub issuer: String,
    /// Who this server is to the provider.
    pub client_id: String,
    /// What proves that; a public client has none.
    pub client_secret: Option<SecretString>,
    /// The file the secret was read from: no connector may refer to it.
    pub client_secret_file: Option<PathBuf>,
    /// Where the provider sends people back to: this server's `/login/oidc/callback`, as browsers reach it.
    pub redirect_url: Url,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// What the sign-in page calls the provider.
    pub name: String,
    /// Whether somebody without an account is given one.
    pub allow_sign_up: bool,
    /// Whether the account of a server admin may be linked by its address.
    pub link_admins: bool,
    /// The claim that a new account's login is taken from.
    pub login_claim: String,
    /// How a new account's role is found.
    pub roles: OidcRoles,
}

/// Which groups make which role. It is for accounts that are made here: the roles of others are an admin's to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OidcRoles {
    /// The claim with the groups: a text or a list of texts. Absent: everybody is a Viewer.
    pub claim: Option<String>,
    /// Groups whose members become Admin of the organisation; nobody becomes an admin of the server.
    pub admin: BTreeSet<String>,
    /// Groups whose members become Editor.
    pub editor: BTreeSet<String>,
    /// Groups whose members become Viewer.
    pub viewer: BTreeSet<String>,
}

impl OidcRoles {
    /// The role of somebody in these groups: the highest that one of them gives; `None` when none gives any.
    #[must_use]
    pub fn role(&self, groups: &[String]) -> Option<OrgRole> {
        if self.claim.is_none() {
            return Some(OrgRole::Viewer);
        }
        let of = |set: &BTreeSet<String>, role| groups.iter().any(|group| set.contains(group)).then_some(role);
        of(&self.admin, OrgRole::Admin).or(of(&self.editor, OrgRole::Editor)).or(of(&self.viewer, OrgRole::Viewer))
    }
}

const ISSUER: &str = "ROUNDS_OIDC_ISSUER";
const CLIENT_ID: &str = "ROUNDS_OIDC_CLIENT_ID";
const REDIRECT: &str = "ROUNDS_OIDC_REDIRECT_URL";
const CALLBACK: &str = "/login/oidc/callback";

pub(super) fn read(env: &Env<'_>) -> Result<Option<OidcSettings>, InvalidVariable> {
    let Some(issuer) = env.text(ISSUER)? else {
        let others = [CLIENT_ID, REDIRECT];
        let set = others.into_iter().find(|name| env.text_of(name).is_some());
        return match set {
            Some(name) => Err(invalid(ISSUER, format!("it is not set, and {name} is: set it too"))),
            None => Ok(None),
        };
    };
    trusted(ISSUER, &issuer)?;
    let needed = |name: &'static str| env.text(name)?.ok_or_else(|| invalid(name, "it is needed for sign-in by OIDC"));
    let client_id = needed(CLIENT_ID)?;
    let redirect_url = trusted(REDIRECT, &needed(REDIRECT)?)?;
    if redirect_url.path() != CALLBACK || redirect_url.query().is_some() || redirect_url.fragment().is_some() {
        let message = format!("found the path `{}`; https://HOST{CALLBACK} is accepted", redirect_url.path());
        return Err(invalid(REDIRECT, message));
    }
    let (client_secret, client_secret_file) = secret(env)?;
    let scopes = env.text("ROUNDS_OIDC_SCOPES")?.unwrap_or_else(|| "profile email".into());
    let groups = |name: &'static str| Ok::<_, InvalidVariable>(env.list(name)?.into_iter().collect::<BTreeSet<_>>());
    let roles = OidcRoles {
        claim: env.text("ROUNDS_OIDC_ROLE_CLAIM")?,
        admin: groups("ROUNDS_OIDC_ADMIN_GROUPS")?,
        editor: groups("ROUNDS_OIDC_EDITOR_GROUPS")?,
        viewer: groups("ROUNDS_OIDC_VIEWER_GROUPS")?,
    };
    if roles.claim.is_none() && roles != OidcRoles::default() {
        let message = "it is not set, and groups are: set the claim that holds them, such as `groups`";
        return Err(invalid("ROUNDS_OIDC_ROLE_CLAIM", message));
    }
    Ok(Some(OidcSettings {
        issuer,
        client_id,
        client_secret,
        client_secret_file,
        redirect_url,
        scopes: scopes.split([' ', ',']).filter(|scope| !matches!(*scope, "" | "openid")).map(str::to_owned).collect(),
        name: env.text("ROUNDS_OIDC_NAME")?.unwrap_or_else(|| "single sign-on".into()),
        allow_sign_up: env.flag("ROUNDS_OIDC_ALLOW_SIGN_UP", false)?,
        link_admins: env.flag("ROUNDS_OIDC_LINK_ADMINS", false)?,
        login_claim: env.text("ROUNDS_OIDC_LOGIN_CLAIM")?.unwrap_or_else(|| "preferred_username".into()),
        roles,
    }))
}

/// An address whose answers nobody on the way can change.
fn trusted(name: &'static str, text: &str) -> Result<Url, InvalidVariable> {
    let url =
        Url::parse(text).map_err(|error| invalid(name, format!("found `{text}`, which is no address: {error}")))?;
    let is_here = match url.host() {
        Some(Host::Domain(host)) => host == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() == "https" || (url.scheme() == "http" && is_here) {
        return Ok(url);
    }
    Err(invalid(name, format!("found `{text}`; https:// is accepted (http:// on this machine only)")))
}

fn secret(env: &Env<'_>) -> Result<(Option<SecretString>, Option<PathBuf>), InvalidVariable> {
    const FILE: &str = "ROUNDS_OIDC_CLIENT_SECRET_FILE";
    match (env.secret("ROUNDS_OIDC_CLIENT_SECRET")?, env.path(FILE)) {
        (Some(_), Some(_)) => Err(invalid(FILE, "ROUNDS_OIDC_CLIENT_SECRET is set, too: set one of them")),
        (secret, None) => Ok((secret, None)),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(&path)
                .map_err(|error| invalid(FILE, format!("{} cannot be read: {error}", path.display())))?;
            Ok((Some(SecretString::from(text.trim_end_matches(['\r', '\n']))), Some(path)))
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::super::tests::read;
    use super::*;

    const ENOUGH: [(&str, &str); 3] = [
        (ISSUER, "https://id.example"),
        (CLIENT_ID, "rounds"),
        (REDIRECT, "https://rounds.example/login/oidc/callback"),
    ];

    fn with(more: &[(&'static str, &'static str)]) -> Result<OidcSettings, InvalidVariable> {
        let all: Vec<(&str, &str)> = ENOUGH.into_iter().chain(more.iter().copied()).collect();
        read(&all).map(|settings| settings.oidc.expect("it is configured"))
    }

    #[test]
    fn what_is_not_said_is_not_allowed() {
        let settings = with(&[]).unwrap();
        assert!(!settings.allow_sign_up && !settings.link_admins && settings.client_secret.is_none());
        assert_eq!((settings.scopes.join(" ").as_str(), settings.name.as_str()), ("profile email", "single sign-on"));
        assert!(read(&[]).unwrap().oidc.is_none());
    }

    #[test]
    fn half_a_configuration_and_an_address_that_anybody_could_answer_are_refused() {
        let error = |variables: &[(&str, &str)]| read(variables).unwrap_err().to_string();
        assert!(error(&[ENOUGH[1]]).contains("ROUNDS_OIDC_ISSUER"));
        assert!(error(&ENOUGH[..2]).contains("ROUNDS_OIDC_REDIRECT_URL: it is needed"));
        let plain = error(&[(ISSUER, "http://id.example"), ENOUGH[1], ENOUGH[2]]);
        assert!(plain.contains("https:// is accepted"), "{plain}");
        let path = error(&[ENOUGH[0], ENOUGH[1], (REDIRECT, "https://rounds.example/callback")]);
        assert!(path.contains("/login/oidc/callback is accepted"), "{path}");
        let groups = with(&[("ROUNDS_OIDC_ADMIN_GROUPS", "sre")]).unwrap_err().to_string();
        assert!(groups.contains("ROUNDS_OIDC_ROLE_CLAIM"), "{groups}");
    }

    #[test]
    fn groups_give_the_highest_role_and_no_group_gives_none() {
        let roles = with(&[
            ("ROUNDS_OIDC_ROLE_CLAIM", "groups"),
            ("ROUNDS_OIDC_ADMIN_GROUPS", "sre, platform"),
            ("ROUNDS_OIDC_VIEWER_GROUPS", "staff"),
        ])
        .unwrap()
        .roles;
        let role = |groups: &[&str]| roles.role(&groups.iter().map(|group| (*group).to_owned()).collect::<Vec<_>>());
        assert_eq!(role(&["staff", "platform"]), Some(OrgRole::Admin));
        assert_eq!(role(&["staff"]), Some(OrgRole::Viewer));
        assert_eq!((role(&[]), role(&["SRE"])), (None, None));
        assert_eq!(OidcRoles::default().role(&[]), Some(OrgRole::Viewer));
    }

    #[test]
    fn rule_12_the_client_secret_comes_from_a_file_or_a_variable_and_is_not_in_debug() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "hunter2\n").unwrap();
        let path = path.to_str().unwrap().to_owned();
        let file: Vec<(&str, &str)> =
            ENOUGH.into_iter().chain([("ROUNDS_OIDC_CLIENT_SECRET_FILE", path.as_str())]).collect();
        let settings = read(&file).unwrap();
        let secret = settings.oidc.as_ref().and_then(|oidc| oidc.client_secret.clone()).unwrap();
        assert_eq!(secret.expose_secret(), "hunter2");
        assert!(!format!("{settings:?}").contains("hunter2"));
        let both: Vec<(&str, &str)> = file.into_iter().chain([("ROUNDS_OIDC_CLIENT_SECRET", "hunter2")]).collect();
        assert!(read(&both).unwrap_err().to_string().contains("set one of them"));
    }
}
