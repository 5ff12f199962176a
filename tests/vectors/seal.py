"""Makes seal.json: sealed packets by another hand, in another language, with another library.

Written from docs/SECURITY.md alone. Needs the `cryptography` package (OpenSSL below it); HKDF is
spelled out with hmac as RFC 5869 has it. Run: python3 tests/vectors/seal.py > tests/vectors/seal.json
"""
import hashlib
import hmac
import json
import struct

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

LABEL = b"overlay sealed packets v1 aes-256-gcm"


def hkdf(secret, salt, info, size):
    prk = hmac.new(salt, secret, hashlib.sha256).digest()
    okm, block, number = b"", b"", 1
    while len(okm) < size:
        block = hmac.new(prk, block + info + bytes([number]), hashlib.sha256).digest()
        okm += block
        number += 1
    return okm[:size]


def public_of(secret):
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes(
        Encoding.Raw, PublicFormat.Raw)


def key_id(public):
    return hashlib.sha256(public).digest()[:4]


def case(name, cluster, generation, sender, receiver, counter, inner):
    s_public, r_public = public_of(sender["secret"]), public_of(receiver["secret"])
    shared = X25519PrivateKey.from_private_bytes(sender["secret"]).exchange(
        X25519PublicKey.from_public_bytes(r_public))
    info = cluster + struct.pack(">Q", generation)
    info += struct.pack(">QQ", sender["node"], sender["epoch"]) + s_public
    info += struct.pack(">QQ", receiver["node"], receiver["epoch"]) + r_public
    okm = hkdf(shared, LABEL, info, 36)
    key, salt = okm[:32], okm[32:]
    header = b"\x11" + key_id(r_public)[:3] + key_id(s_public) + struct.pack(">Q", counter)
    nonce = salt + struct.pack(">Q", counter)
    sealed = header + AESGCM(key).encrypt(nonce, inner, header)

    def party(p, public):
        return {"node": p["node"], "epoch": p["epoch"], "secret": p["secret"].hex(),
                "public": public.hex(), "keyId": key_id(public).hex()}

    return {"name": name, "clusterId": cluster.hex(), "generation": generation,
            "sender": party(sender, s_public), "receiver": party(receiver, r_public),
            "counter": str(counter), "key": key.hex(), "salt": salt.hex(),
            "inner": inner.hex(), "sealed": sealed.hex()}


def seed(text):
    return hashlib.sha256(text.encode()).digest()


A = {"node": 0x1234567890ABC, "epoch": 1, "secret": seed("a1")}
B = {"node": 7, "epoch": 41, "secret": seed("b1")}
A2 = {"node": A["node"], "epoch": 2, "secret": seed("a2")}
MAX = {"node": 2**53 - 1, "epoch": 2**53 - 1, "secret": seed("max")}
CLUSTER = bytes.fromhex("00112233445566778899aabbccddeeff")
PACKET = bytes.fromhex("45000054abcd40004001") + bytes(range(74))

CASES = [
    case("a to b, the first packet", CLUSTER, 1, A, B, 0, PACKET),
    case("b to a, the first packet", CLUSTER, 1, B, A, 0, PACKET),
    case("a to b, a later packet", CLUSTER, 1, A, B, 123456789, PACKET),
    case("second incarnation", CLUSTER, 1, A, B, (1 << 32) + 5, PACKET),
    case("the last counter", CLUSTER, 1, A, B, 2**53 - 1, PACKET),
    case("another generation", CLUSTER, 2, A, B, 0, PACKET),
    case("the next key of a", CLUSTER, 1, A2, B, 0, PACKET),
    case("largest numbers", b"\xff" * 16, 2**53 - 1, MAX, A, 1, PACKET),
    case("one byte", CLUSTER, 1, A, B, 2, b"\x45"),
    case("a jumbo frame", CLUSTER, 1, A, B, 3, bytes(i * 7 & 255 for i in range(8940))),
]
print(json.dumps({"label": LABEL.decode(), "cases": CASES}, indent=2))
