"""A real mail server for the tests: prints its port, then a line of JSON for each message it took.

Usage: smtpd.py starttls|tls|plain CERTIFICATE KEY. Who signs in is ada with hunter2 hunter2. What a recipient is called
says how it is answered: gone@ 550, full@ 452, new…@ 451 the first time and then taken; a subject with "later" is answered 451, with "spam" 554.
"""

import asyncio
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


class Mailbox:
    def __init__(self):
        self.known = set()

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("gone@"):
            return "550 5.1.1 no such mailbox"
        if address.startswith("full@"):
            return "452 4.2.2 mailbox full"
        if address.startswith("new") and address not in self.known:
            self.known.add(address)
            return "451 4.7.1 greylisted, come back later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        text = envelope.content.decode("ascii")
        head = text.split("\r\n\r\n")[0]
        if "later" in head:
            return "451 4.3.0 try again later"
        if "spam" in head:
            return "554 5.7.1 refused"
        message = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": session.ssl is not None or sys.argv[1] == "tls",
            "user": None if session.auth_data is None else session.auth_data.login.decode(),
            "text": text,
        }
        print(json.dumps(message), flush=True)
        return "250 2.0.0 queued"


def authenticate(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"ada", b"hunter2 hunter2")
    return AuthResult(success=good, handled=False, auth_data=data if good else None)


async def main():
    mode, certificate, key = sys.argv[1:4]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    options = {"hostname": "localhost", "authenticator": authenticate}
    if mode == "starttls":
        options |= {"tls_context": context, "require_starttls": True, "auth_required": True}
    if mode == "tls":
        options |= {"auth_required": True, "auth_require_tls": False}
    loop = asyncio.get_running_loop()
    mailbox = Mailbox()
    server = await loop.create_server(
        lambda: SMTP(mailbox, loop=loop, **options),
        host="127.0.0.1",
        port=0,
        ssl=context if mode == "tls" else None,
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
