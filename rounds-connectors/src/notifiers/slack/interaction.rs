//! What Slack sends when somebody clicks: proved first, read afterwards. Pure.

use hmac::Mac as _;
use rounds_core::Timestamp;
use rounds_core::ports::{Answer, Inbound, PortError, PortErrorKind, ReplyTo, Seen, Wish};
use secrecy::SecretString;
use serde::Deserialize;
use url::form_urlencoded;

use super::message::{APPROVE, OPEN, REJECT};

/// How old a click may be, and how far ahead Slack's clock.
const WINDOW_SEC: i64 = 5 * 60;

/// What a request says that it was signed with, and when.
pub(super) struct Claim<'a> {
    timestamp: &'a str,
    signature: Vec<u8>,
}

fn refused() -> PortError {
    // Nothing more is said, so that nobody learns which part was right.
    PortError::new(PortErrorKind::Unauthorized, "this did not come from Slack just now")
}

/// Reads what a request claims; what is not even of now costs no look at the secret.
///
/// # Errors
/// It claims nothing, or an old time.
pub(super) fn claim(inbound: &Inbound, now: Timestamp) -> Result<Claim<'_>, PortError> {
    let timestamp = inbound.header("x-slack-request-timestamp").ok_or_else(refused)?;
    let sent: i64 = timestamp.parse().map_err(|_| refused())?;
    let age = now.timestamp().checked_sub(sent).ok_or_else(refused)?;
    if !(-WINDOW_SEC..=WINDOW_SEC).contains(&age) {
        return Err(refused());
    }
    let signature =
        inbound.header("x-slack-signature").and_then(|value| value.strip_prefix("v0=")).ok_or_else(refused)?;
    Ok(Claim { timestamp, signature: hex::decode(signature).map_err(|_| refused())? })
}

/// Proves a claim: the time is signed together with the body.
///
/// # Errors
/// It does not hold.
pub(super) fn prove(secret: &SecretString, claim: &Claim<'_>, inbound: &Inbound) -> Result<(), PortError> {
    let mac = super::super::mac(secret, &[b"v0:", claim.timestamp.as_bytes(), b":", &inbound.body])?;
    // In constant time.
    mac.verify_slice(&claim.signature).map_err(|_| refused())
}

#[derive(Deserialize)]
struct Payload {
    #[serde(rename = "type")]
    kind: String,
    user: User,
    #[serde(default)]
    actions: Vec<Action>,
    #[serde(default)]
    response_url: String,
}

#[derive(Deserialize)]
struct User {
    id: String,
}

#[derive(Deserialize)]
struct Action {
    #[serde(default)]
    action_id: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct Value {
    v: u32,
    request: String,
    digest: String,
}

/// Reads a request that was proved.
///
/// # Errors
/// It is not what Slack sends for a click on a message of ours.
pub(super) fn read(body: &[u8]) -> Result<Answer, PortError> {
    let invalid = |why: String| PortError::new(PortErrorKind::Invalid, why);
    let mut payloads = form_urlencoded::parse(body).filter(|(name, _)| name == "payload").map(|(_, value)| value);
    let (Some(payload), None) = (payloads.next(), payloads.next()) else {
        return Err(invalid("a form with one field `payload` is expected".into()));
    };
    let payload: Payload = serde_json::from_str(&payload).map_err(|error| {
        invalid(format!("payload: line {}, column {}: not what Slack sends", error.line(), error.column()))
    })?;
    if payload.kind != "block_actions" {
        let kind: String = payload.kind.chars().filter(|c| !c.is_control()).take(40).collect();
        return Err(invalid(format!("payload: found type `{kind}`; block_actions is expected")));
    }
    let user: String = payload.user.id.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
    let (Some(action), 1) = (payload.actions.first(), payload.actions.len()) else {
        return Err(invalid("payload: one action is expected".into()));
    };
    let wish = match action.action_id.as_str() {
        APPROVE => Wish::Approve(seen(&action.value).map_err(invalid)?),
        REJECT => Wish::Reject(seen(&action.value).map_err(invalid)?),
        OPEN => Wish::Nothing,
        _ => return Err(invalid("payload: the action is none of a message of Rounds".into())),
    };
    Ok(Answer::new(user, wish, ReplyTo::new(payload.response_url)))
}

fn seen(value: &str) -> Result<Seen, String> {
    let wrong = || "payload: the button carries no request of Rounds".to_owned();
    let Value { v: 1, request, digest } = serde_json::from_str(value).map_err(|_| wrong())? else {
        return Err(wrong());
    };
    Ok(Seen { request_id: request.parse().map_err(|_| wrong())?, digest })
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;

    /// The example of Slack's own documentation on verifying requests.
    const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
    const BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    const SIGNATURE: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    const SENT: i64 = 1_531_420_618;

    fn proved(timestamp: &str, signature: &str, body: &str, late: i64) -> bool {
        let headers = [("X-Slack-Request-Timestamp", timestamp), ("X-Slack-Signature", signature)];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let now = DateTime::from_timestamp(SENT, 0).unwrap() + TimeDelta::seconds(late);
        let inbound = Inbound::new(headers, body.into());
        claim(&inbound, now).and_then(|claim| prove(&SECRET.into(), &claim, &inbound)).is_ok()
    }

    #[test]
    fn only_what_slack_signed_just_now_is_proved() {
        let sent = SENT.to_string();
        assert!(proved(&sent, SIGNATURE, BODY, 0));
        assert!(proved(&sent, SIGNATURE, BODY, 300) && proved(&sent, SIGNATURE, BODY, -300));
        assert!(!proved(&sent, SIGNATURE, BODY, 301) && !proved(&sent, SIGNATURE, BODY, -301));
        assert!(!proved(&sent, SIGNATURE, &BODY.replace("foobar", "foobaz"), 0));
        assert!(!proved(&(SENT + 1).to_string(), SIGNATURE, BODY, 0));
        for wrong in ["", "v0=", "v0=00", "v1=a2114d57", &SIGNATURE[3..], &SIGNATURE.replace("v0=a2", "v0=a3")] {
            assert!(!proved(&sent, wrong, BODY, 0), "{wrong}");
        }
        assert!(!proved("", SIGNATURE, BODY, 0) && !proved("-9223372036854775808", SIGNATURE, BODY, 0));
        assert!(claim(&Inbound::new([], BODY.into()), DateTime::UNIX_EPOCH).is_err());
    }

    #[test]
    fn a_click_says_who_what_and_where_to_reply_and_anything_else_is_refused() {
        let body = |payload: &serde_json::Value| {
            form_urlencoded::Serializer::new(String::new())
                .append_pair("payload", &payload.to_string())
                .finish()
                .into_bytes()
        };
        let request = rounds_core::RequestId::new();
        let value = serde_json::json!({ "v": 1, "request": request, "digest": "d" }).to_string();
        let click = |id: &str, value: &str| {
            serde_json::json!({
                "type": "block_actions", "user": { "id": "U1" }, "response_url": "https://hooks.slack.com/actions/x",
                "actions": [{ "type": "button", "action_id": id, "value": value }],
            })
        };
        let answer = read(&body(&click(APPROVE, &value))).unwrap();
        assert_eq!(answer.user, "U1");
        assert_eq!(answer.wish, Wish::Approve(Seen { request_id: request, digest: "d".into() }));
        assert_eq!(answer.reply_to.reveal(), "https://hooks.slack.com/actions/x");
        assert!(matches!(read(&body(&click(REJECT, &value))).unwrap().wish, Wish::Reject(_)));
        assert_eq!(read(&body(&click(OPEN, ""))).unwrap().wish, Wish::Nothing);
        let mut two = click(APPROVE, &value);
        let again = two["actions"][0].clone();
        two["actions"].as_array_mut().unwrap().push(again);
        let other = serde_json::json!({ "type": "view_submission", "user": { "id": "U1" } });
        for wrong in [click("other", &value), click(APPROVE, "{}"), click(APPROVE, "x"), two, other] {
            assert_eq!(read(&body(&wrong)).unwrap_err().kind, PortErrorKind::Invalid, "{wrong}");
        }
        for wrong in [&b""[..], b"payload=x", b"payload={}&payload={}", b"\xff\xfe"] {
            assert!(read(wrong).is_err());
        }
    }
}
