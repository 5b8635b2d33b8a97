#!/usr/bin/env bash
# Signing an MP3 with c2pa removes its whole ID3 tag where the tag has timed lyrics in UTF-8.
#
# Expected: c2pa puts its manifest into the ID3v2 tag, beside the title, the artist and the cover,
# or it refuses a tag that it cannot keep.
# Seen: with lyrics in a SYLT frame (ID3v2.4, UTF-8) the signed file has one frame, the manifest.
# There is no error, and the reader calls the file Valid. The same lyrics in a USLT frame keep all
# frames. With SYLT in Latin-1 the other frames stay, and SYLT is written with one byte too many:
# mutagen no longer reads the lyrics. Values after the first one, in UTF-16, gain a U+FEFF.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q c2pa-python==0.38.1 cryptography==50.0.2 mutagen==1.48.1 lameenc==1.9.0
cat > "$folder/try.py" <<'P'
import io
import json
import sys
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import c2pa
import lameenc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from mutagen.id3 import APIC, ID3, SYLT, TIT2, TPE1, USLT

TYPE = "audio/mpeg"
FLAGS = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
         "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip


def build_certificate(name, key, issuer, issuer_key, usage):
    label = [x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, who)]) for who in (name, issuer)]
    now, public = datetime.now(UTC), issuer_key.public_key()
    return (
        x509.CertificateBuilder(label[1], label[0], key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(name == issuer, None), True)
        .add_extension(x509.KeyUsage(**{flag: flag == usage for flag in FLAGS}), True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), False)
        .sign(issuer_key, SHA256())
        .public_bytes(Encoding.PEM)
    )


root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
chain = build_certificate("signer", key, "root", root_key, FLAGS[0])
chain += build_certificate("root", root_key, "root", root_key, FLAGS[5])
private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def sign(data):
    source = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    actions = {"actions": [{"action": "c2pa.created", "digitalSourceType": source}]}
    claim = json.dumps({"assertions": [{"label": "c2pa.actions", "data": actions}]})
    signed = io.BytesIO()
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", chain, private, None))
    with c2pa.Builder(claim) as builder, signer:
        builder.sign(signer, TYPE, io.BytesIO(data), signed)
    return signed.getvalue()


encoder = lameenc.Encoder()
encoder.set_channels(1)
encoder.set_in_sample_rate(44_100)
sound = bytes(encoder.encode(bytes(2 * 44_100)) + encoder.flush())
timed = {"lang": "eng", "format": 2, "type": 1, "desc": "", "text": [("la", 0), ("lo", 900)]}
LYRICS = {
    "USLT, UTF-8": USLT(encoding=3, lang="eng", desc="", text="la\nlo"),
    "SYLT, Latin-1": SYLT(encoding=0, **timed),
    "SYLT, UTF-8": SYLT(encoding=3, **timed),
}
print(*(f"{name} {version(name)}" for name in ("c2pa-python", "mutagen")))
seen = {}
for name, lyrics in LYRICS.items():
    tag, file = ID3(), io.BytesIO(sound)
    cover = APIC(encoding=0, mime="image/png", type=3, desc="", data=b"\x89PNG" + bytes(90))
    for frame in (TIT2(encoding=3, text=["Bells"]), TPE1(encoding=1, text=["Ada", "Bo"]), cover, lyrics):
        tag.add(frame)
    tag.save(file)
    before = ID3(io.BytesIO(file.getvalue()))
    signed = sign(file.getvalue())
    after, state = ID3(io.BytesIO(signed)), c2pa.Reader(TYPE, io.BytesIO(signed)).get_validation_state()
    seen[name] = sorted(frame[:4] for frame in after)
    artists = after["TPE1"].text if "TPE1" in after else None
    print(f"{name}: {sorted(frame[:4] for frame in before)} signed: {seen[name]} ({state}), artists {artists!a}")
right = seen == {
    "USLT, UTF-8": ["APIC", "GEOB", "TIT2", "TPE1", "USLT"],
    "SYLT, Latin-1": ["APIC", "GEOB", "TIT2", "TPE1"],
    "SYLT, UTF-8": ["GEOB"],
}
sys.exit(0 if right and state == "Valid" else 1)
P
"$folder/venv/bin/python" "$folder/try.py"
