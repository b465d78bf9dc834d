//! Where Vault is and how to log in to it: `VAULT_*` as Vault's own programs read them, and `ROUNDS_VAULT_*`.

use std::ffi::OsString;
use std::path::PathBuf;

use rounds_connectors::secrets::{SecretId, VaultConfig, VaultLogin};

use super::{Env, InvalidVariable, invalid};

/// What `vault://` asks.
#[derive(Debug, Clone)]
pub struct VaultSettings {
    /// Where it is and how to log in; without the certificates to trust.
    pub config: VaultConfig,
    /// A file with PEM certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

impl VaultSettings {
    /// The files that prove who Rounds is, which no connector may name.
    #[must_use]
    pub fn own_files(&self) -> Vec<PathBuf> {
        match &self.config.login {
            VaultLogin::TokenFile(file) => vec![file.clone()],
            VaultLogin::AppRole { secret_id, .. } => vec![secret_id.file.clone()],
            VaultLogin::Kubernetes { jwt_file, .. } => vec![jwt_file.clone()],
            _ => Vec::new(),
        }
    }
}

const AUTH: &str = "ROUNDS_VAULT_AUTH";
const MOUNT: &str = "ROUNDS_VAULT_MOUNT";
const TOKEN: &str = "VAULT_TOKEN";
const TOKEN_FILE: &str = "ROUNDS_VAULT_TOKEN_FILE";
const ROLE_ID: &str = "ROUNDS_VAULT_ROLE_ID";
const SECRET_ID_FILE: &str = "ROUNDS_VAULT_SECRET_ID_FILE";
const SECRET_ID_WRAPPED: &str = "ROUNDS_VAULT_SECRET_ID_WRAPPED";
const ROLE: &str = "ROUNDS_VAULT_ROLE";
const JWT_FILE: &str = "ROUNDS_VAULT_JWT_FILE";

/// Every variable of Rounds' own about Vault.
const OURS: [&str; 8] = [AUTH, MOUNT, TOKEN_FILE, ROLE_ID, SECRET_ID_FILE, SECRET_ID_WRAPPED, ROLE, JWT_FILE];

/// Where the kubelet puts a pod's service account token.
const JWT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// A variable that begins as ours and is none is a mistake: it would not do what whoever set it believes.
pub(super) fn check_names(names: impl Iterator<Item = OsString>) -> Result<(), InvalidVariable> {
    for name in names.filter_map(|name| name.into_string().ok()) {
        if name.starts_with("ROUNDS_VAULT_") && !OURS.contains(&name.as_str()) {
            let name: String = name.chars().take(100).collect();
            let known = OURS.join(", ");
            return Err(invalid("ROUNDS_VAULT_*", format!("found {name}, which is no setting; known are {known}")));
        }
    }
    Ok(())
}

pub(super) fn read(env: &Env<'_>) -> Result<Option<VaultSettings>, InvalidVariable> {
    let set = |names: &[&'static str]| names.iter().copied().find(|name| env.path(name).is_some());
    let Some(address) = env.text("VAULT_ADDR")? else {
        return match set(&OURS) {
            Some(name) => Err(invalid("VAULT_ADDR", format!("it is not set, and {name} is: set it too"))),
            // A token is often set for other programs.
            None => Ok(None),
        };
    };
    let Some(login) = login(env, &set)? else { return Ok(None) };
    let namespace = env.text("VAULT_NAMESPACE")?;
    let config = VaultConfig::new(address, login).with_namespace(namespace);
    Ok(Some(VaultSettings { config, ca_file: env.path("VAULT_CACERT") }))
}

fn login(
    env: &Env<'_>,
    set: &dyn Fn(&[&'static str]) -> Option<&'static str>,
) -> Result<Option<VaultLogin>, InvalidVariable> {
    let auth = env.text(AUTH)?;
    let auth = match auth.as_deref() {
        Some(auth) => auth,
        None => match set(&[ROLE_ID, SECRET_ID_FILE, SECRET_ID_WRAPPED, ROLE, JWT_FILE, MOUNT]) {
            Some(name) => {
                let why = format!("it is not set, and {name} is: set it to approle or kubernetes");
                return Err(invalid(AUTH, why));
            }
            None if set(&[TOKEN, TOKEN_FILE]).is_none() => return Ok(None),
            None => "token",
        },
    };
    let alien = |names: &[&'static str]| match set(names) {
        Some(name) => Err(invalid(name, format!("it is set, and {AUTH}={auth} has no use for it: unset one of them"))),
        None => Ok(()),
    };
    let needed = |name: &'static str| {
        let missing = || invalid(name, format!("it is not set, and {AUTH}={auth} needs it"));
        env.text(name)?.ok_or_else(missing)
    };
    let mount = |default: &str| Ok::<_, InvalidVariable>(env.text(MOUNT)?.unwrap_or_else(|| default.into()));
    match auth {
        "token" => {
            alien(&[ROLE_ID, SECRET_ID_FILE, SECRET_ID_WRAPPED, ROLE, JWT_FILE, MOUNT])?;
            match (env.secret(TOKEN)?, env.path(TOKEN_FILE)) {
                (Some(_), Some(_)) => {
                    Err(invalid(TOKEN_FILE, format!("it is set, and {TOKEN} is, too: one of them is accepted")))
                }
                (Some(token), None) => Ok(Some(VaultLogin::Token(token))),
                (None, Some(_)) => Ok(Some(VaultLogin::TokenFile(absolute(env, TOKEN_FILE)?))),
                (None, None) => {
                    Err(invalid(TOKEN, format!("it is not set, and {AUTH}=token needs it or {TOKEN_FILE}")))
                }
            }
        }
        "approle" => {
            alien(&[TOKEN, TOKEN_FILE, ROLE, JWT_FILE])?;
            needed(SECRET_ID_FILE)?;
            let secret_id =
                SecretId { file: absolute(env, SECRET_ID_FILE)?, wrapped: env.flag(SECRET_ID_WRAPPED, false)? };
            Ok(Some(VaultLogin::AppRole { mount: mount("approle")?, role_id: needed(ROLE_ID)?, secret_id }))
        }
        "kubernetes" => {
            alien(&[TOKEN, TOKEN_FILE, ROLE_ID, SECRET_ID_FILE, SECRET_ID_WRAPPED])?;
            let jwt_file = if env.path(JWT_FILE).is_some() { absolute(env, JWT_FILE)? } else { JWT.into() };
            Ok(Some(VaultLogin::Kubernetes { mount: mount("kubernetes")?, role: needed(ROLE)?, jwt_file }))
        }
        found => {
            let found: String = found.chars().take(100).collect();
            Err(invalid(AUTH, format!("found `{found}`; token, approle and kubernetes are accepted")))
        }
    }
}

fn absolute(env: &Env<'_>, name: &'static str) -> Result<PathBuf, InvalidVariable> {
    let path = env.path(name).unwrap_or_default();
    if path.is_absolute() {
        return Ok(path);
    }
    Err(invalid(name, format!("found {}; an absolute path is accepted", path.display())))
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    const ADDR: (&str, &str) = ("VAULT_ADDR", "https://vault:8200");

    fn login_of(variables: &[(&str, &str)]) -> Result<Option<VaultLogin>, String> {
        let settings = read(&[&[ADDR], variables].concat()).map_err(|error| error.to_string())?;
        Ok(settings.vault.map(|vault| vault.config.login))
    }

    #[test]
    fn each_login_is_read_from_its_own_variables() {
        assert!(matches!(login_of(&[]), Ok(None)), "an address alone is other programs'");
        assert!(matches!(login_of(&[("VAULT_TOKEN", "s.a")]), Ok(Some(VaultLogin::Token(_)))));
        let file = login_of(&[("ROUNDS_VAULT_TOKEN_FILE", "/run/token")]);
        assert!(matches!(file, Ok(Some(VaultLogin::TokenFile(_)))));
        let approle = [
            ("ROUNDS_VAULT_AUTH", "approle"),
            ("ROUNDS_VAULT_ROLE_ID", "r"),
            ("ROUNDS_VAULT_SECRET_ID_FILE", "/run/id"),
            ("ROUNDS_VAULT_SECRET_ID_WRAPPED", "yes"),
            ("ROUNDS_VAULT_MOUNT", "team/approle"),
        ];
        let Ok(Some(VaultLogin::AppRole { mount, role_id, secret_id })) = login_of(&approle) else { panic!() };
        assert_eq!((mount.as_str(), role_id.as_str(), secret_id.wrapped), ("team/approle", "r", true));
        let kubernetes = [("ROUNDS_VAULT_AUTH", "kubernetes"), ("ROUNDS_VAULT_ROLE", "rounds")];
        let Ok(Some(VaultLogin::Kubernetes { mount, jwt_file, .. })) = login_of(&kubernetes) else { panic!() };
        assert_eq!((mount.as_str(), jwt_file), ("kubernetes", PathBuf::from(JWT)));
        let whole = read(&[ADDR, ("VAULT_TOKEN", "s"), ("VAULT_NAMESPACE", "team"), ("VAULT_CACERT", "/ca.pem")]);
        let whole = whole.unwrap().vault.unwrap();
        assert_eq!(whole.config.namespace.as_deref(), Some("team"));
        assert_eq!(whole.ca_file, Some("/ca.pem".into()));
    }

    #[test]
    fn what_contradicts_or_is_missing_is_named() {
        let auth = |method| ("ROUNDS_VAULT_AUTH", method);
        for (variables, named) in [
            (vec![auth("ldap")], "ROUNDS_VAULT_AUTH: found `ldap`; token, approle and kubernetes"),
            (vec![auth("token")], "VAULT_TOKEN: it is not set"),
            (vec![auth("approle"), ("ROUNDS_VAULT_ROLE_ID", "r")], "ROUNDS_VAULT_SECRET_ID_FILE: it is not set"),
            (vec![auth("approle"), ("ROUNDS_VAULT_SECRET_ID_FILE", "/a")], "ROUNDS_VAULT_ROLE_ID: it is not set"),
            (vec![auth("kubernetes")], "ROUNDS_VAULT_ROLE: it is not set"),
            (vec![auth("kubernetes"), ("VAULT_TOKEN", "hunter2")], "VAULT_TOKEN: it is set"),
            (vec![auth("kubernetes"), ("ROUNDS_VAULT_ROLE_ID", "r")], "ROUNDS_VAULT_ROLE_ID: it is set"),
            (vec![("ROUNDS_VAULT_ROLE_ID", "r")], "ROUNDS_VAULT_AUTH: it is not set, and ROUNDS_VAULT_ROLE_ID is"),
            (vec![("VAULT_TOKEN", "hunter2"), ("ROUNDS_VAULT_TOKEN_FILE", "/a")], "ROUNDS_VAULT_TOKEN_FILE: it is set"),
            (vec![("VAULT_TOKEN", "hunter2"), ("ROUNDS_VAULT_MOUNT", "a")], "ROUNDS_VAULT_AUTH: it is not set"),
            (vec![("ROUNDS_VAULT_TOKEN_FILE", "run/token")], "ROUNDS_VAULT_TOKEN_FILE: found run/token"),
        ] {
            let error = login_of(&variables).unwrap_err();
            assert!(error.starts_with(named) && !error.contains("hunter2"), "{variables:?}: {error}");
        }
        let error = read(&[auth("kubernetes")]).unwrap_err().to_string();
        assert!(error.starts_with("VAULT_ADDR: it is not set, and ROUNDS_VAULT_AUTH is"), "{error}");
    }

    #[test]
    fn a_variable_that_begins_as_ours_and_is_none_is_named() {
        let check = |name: &str| check_names([OsString::from(name)].into_iter());
        assert!(check("ROUNDS_VAULT_AUTH").is_ok() && check("VAULT_SKIP_VERIFY").is_ok());
        let error = check("ROUNDS_VAULT_SECRETID_FILE").unwrap_err().to_string();
        assert!(
            error.contains("ROUNDS_VAULT_SECRETID_FILE") && error.contains("ROUNDS_VAULT_SECRET_ID_FILE"),
            "{error}"
        );
    }

    #[test]
    fn rule_12_debug_of_the_settings_shows_no_token() {
        let settings = read(&[ADDR, ("VAULT_TOKEN", "hunter2")]).unwrap();
        assert!(settings.vault.is_some() && !format!("{settings:?}").contains("hunter2"));
    }
}
