"""Alerts by mail through a real server that wants TLS and a login, with a certificate made for the test."""

import asyncio
import datetime
import ipaddress
import ssl
import threading
from email import message_from_bytes

import pytest

from trainwright.core.errors import ChannelFailed, InvalidValue, UnknownKey
from trainwright.watch.alert_book import AlertBook, Subject
from trainwright.watch.alert_rules import AlertSettings, open_alert_settings
from trainwright.watch.alerts import Finding
from trainwright.watch.channels import deliver, send

smtp = pytest.importorskip("aiosmtpd.smtp", reason="pip install aiosmtpd")
x509 = pytest.importorskip("cryptography.x509", reason="pip install 'trainwright[signing]'")

NOON = "2026-01-01T12:00:00.000+00:00"
LATER = "2026-01-01T13:00:00.000+00:00"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """(certificate, key): files of a certificate for this machine, signed by itself."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


class Keeper:
    """Keeps what it is given: (sender, recipients, message)."""

    def __init__(self):
        self.mails = []

    async def handle_DATA(self, server, session, envelope):
        self.mails.append((envelope.mail_from, envelope.rcpt_tos, message_from_bytes(envelope.content)))
        return "250 kept"


@pytest.fixture
def server(certificate):
    """(port, keeper) of a server that takes mail over STARTTLS and after a login alone."""

    def is_known(server, session, envelope, mechanism, auth_data):
        known = (auth_data.login, auth_data.password) == (b"trainer", b"open sesame")
        return smtp.AuthResult(success=known, handled=False)

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    keeper = Keeper()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def answer():
        return smtp.SMTP(
            keeper,
            hostname="localhost",
            tls_context=context,
            require_starttls=True,
            auth_required=True,
            auth_require_tls=True,
            authenticator=is_known,
            loop=loop,
        )

    async def close():
        running.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

    running = asyncio.run_coroutine_threadsafe(loop.create_server(answer, "127.0.0.1", 0), loop).result()
    try:
        yield running.sockets[0].getsockname()[1], keeper
    finally:
        asyncio.run_coroutine_threadsafe(close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def build_settings(port, **changes):
    channel = {
        "kind": "email",
        "host": "127.0.0.1",
        "port": port,
        "sender": "trainwright@example.org",
        "to": ["ops@example.org", "ml@example.org"],
        "user": "trainer",
        "password_env": "MAIL_PASSWORD",
    }
    return AlertSettings.model_validate({"channels": {"mail": channel | changes}})


def raise_one(book, settings):
    finding = Finding("disk", "high", "the disk is nearly full")
    return book.raise_alert(finding, Subject("a" * 64, "tiny"), NOON, settings)


def test_mail_goes_over_tls_after_a_login(server, certificate, tmp_path, monkeypatch):
    port, keeper = server
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    monkeypatch.setenv("MAIL_PASSWORD", "open sesame")
    book, settings = AlertBook(tmp_path / "alerts"), build_settings(port)
    alert = raise_one(book, settings)
    assert deliver(book, print, NOON) == []
    ((sender, recipients, message),) = keeper.mails
    assert (sender, recipients) == ("trainwright@example.org", ["ops@example.org", "ml@example.org"])
    assert message["Subject"] == "[high] disk: tiny"
    assert alert.id in message.get_payload()
    assert "sesame" not in message.as_string()


def test_a_server_whose_certificate_nobody_vouches_for_gets_neither_password_nor_mail(server, tmp_path, monkeypatch):
    port, keeper = server
    monkeypatch.setenv("MAIL_PASSWORD", "open sesame")
    settings = build_settings(port)
    alert = raise_one(AlertBook(tmp_path / "alerts"), settings)
    with pytest.raises(ChannelFailed, match="did not take it") as failure:
        send(settings.channels["mail"], alert, print)
    assert "CERTIFICATE_VERIFY_FAILED" in failure.value.why
    assert keeper.mails == []


def test_a_wrong_password_is_a_failure_that_does_not_tell_it_and_is_tried_again(
    server, certificate, tmp_path, monkeypatch
):
    port, keeper = server
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    monkeypatch.setenv("MAIL_PASSWORD", "open barley")
    book, settings = AlertBook(tmp_path / "alerts"), build_settings(port)
    raise_one(book, settings)
    deliver(book, print, NOON)
    assert keeper.mails == []
    (state,) = book.list_channels()
    assert "535" in str(state)
    everything = "".join(path.read_text() for path in (tmp_path / "alerts").rglob("*") if path.is_file())
    assert "barley" not in everything
    monkeypatch.setenv("MAIL_PASSWORD", "open sesame")
    deliver(book, print, LATER)
    assert len(keeper.mails) == 1


def test_without_its_variable_nothing_is_asked_of_the_server(server, tmp_path, monkeypatch):
    monkeypatch.delenv("MAIL_PASSWORD", raising=False)
    settings = build_settings(server[0])
    alert = raise_one(AlertBook(tmp_path / "alerts"), settings)
    with pytest.raises(ChannelFailed, match="secret is missing"):
        send(settings.channels["mail"], alert, print)


@pytest.mark.parametrize(
    "changes", ["tls: false", "password_env: null", "user: null", "password: open sesame, user: x"]
)
def test_a_password_in_the_file_or_without_tls_is_refused(tmp_path, changes):
    path = tmp_path / "alerts.yaml"
    channel = (
        "kind: email, host: mail.example.org, sender: a@example.org, to: [b@example.org], "
        "user: trainer, password_env: MAIL_PASSWORD"
    )
    path.write_text(f"channels: {{mail: {{{channel}}}}}\n", encoding="utf-8")
    open_alert_settings(str(path))
    key = changes.partition(":")[0]
    kept = ", ".join(part for part in channel.split(", ") if not part.startswith(f"{key}:"))
    path.write_text(f"channels: {{mail: {{{kept}, {changes}}}}}\n", encoding="utf-8")
    with pytest.raises((InvalidValue, UnknownKey)) as refusal:
        open_alert_settings(str(path))
    assert "sesame" not in str(refusal.value)
