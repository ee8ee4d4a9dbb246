"""Decides by a field's name whether its value is a secret.

The lists combine those of Django (``HIDDEN_SETTINGS``), sentry-sdk (``DEFAULT_DENYLIST``) and
OWASP's Logging Cheat Sheet with payment data and the word for "password" in other languages.
Names are compared by their parts: ``newPassword2`` is ``new`` and ``password``, and ``compass``
does not match ``pass``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from typing import Final
from unicodedata import combining, normalize
from urllib.parse import unquote

REMEMBERED_LENGTH: Final = 100  # characters of a name whose decision is cached


def words_in(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


# A name is secret if one of its parts is one of these.
WORDS: Final = words_in(
    """
    pass passwd password passwords passphrase passcode pwd pw psw pswd pword dbpass userpass mypass
    smtppass mailpass ftppass adminpass rootpass userpw dbpw
    passwort passwoerter kennwort contrasena contrasenas contrasenya contrasinal clave claves senha
    mdp motdepasse parola parole wachtwoord losenord adgangskode kodeord passord salasana haslo
    heslo geslo lozinka zaporka jelszo sifre slaptazodis parool katasandi matkhau
    secret secrets token tokens bearer jwt jwe jws jwk jwks oauth auth authn authorization
    authorisation authentication
    credential credentials cred creds session sessions sess sid cookie cookies csrf xsrf
    signature sig hmac salt mnemonic pem p12 pfx pkcs12 pkcs8 psk privkey apikey apikeys
    apitoken
    otp totp hotp mfa 2fa tfa pin pins tan puk cvv cvc cvn csc cvv2 cvc2 iban ssn pan saml
    samlresponse assertion dsn connstr symfony
    """
)

# A name is secret if a part contains one of INSIDE (PHPSESSID) or ends with one of ENDINGS.
INSIDE: Final = words_in(
    """
    password passwd passphrase passwort kennwort contrasen apikey secretkey privatekey accesskey
    authkey signingkey authtoken accesstoken sessionid sessid csrf xsrf credential creditcard
    cardnumber seedphrase otpcode pincode authcode connectionstring
    """
)
ENDINGS: Final = ("token", "tokens", "secret", "secrets", "pwd", "passcode", "cookie")

# A name is secret if two adjacent parts are one of these pairs.
PAIRS: Final = words_in(
    """
    pass_phrase pass_code pass_word pass_wd de_passe access_key secret_key conn_str
    connection_string card_number credit_card debit_card cc_number account_number
    bank_account routing_number security_number tax_id seed_phrase recovery_phrase
    security_answer secret_answer code_verifier code_challenge master_key magic_link two_factor
    """
)

# A name that ends with "code" is secret if it has no other part, or one of these.
CODES: Final = words_in(
    """
    auth authorization verification verify security recovery reset confirm confirmation activation
    access backup pass invite invitation login otp one sms card device user temp temporary unlock
    """
)
# A name that ends with "key" is secret unless another part is one of these.
OPEN_KEYS: Final = words_in(
    """
    primary foreign public publishable sort partition cache routing object index dict group lookup
    natural surrogate unique row column field translation message config parent idempotency hash
    range composite hot short shortcut arrow order metric label locale i18n storage json map item
    """
)
# A name that ends with one of these describes a secret and is not one itself.
DESCRIBED: Final = words_in(
    """
    type count length len size limit expires expiry expiration expired ttl lifetime enabled required
    policy location algorithm strength prefix error errors exception warning failed failure message
    label help name names class interface duration domain header field chars
    """
)
# Words for "password" in other scripts, which do not separate words.
OTHER_SCRIPTS: Final = tuple(
    normalize("NFKD", word)
    for word in (
        "пароль",
        "парол",
        "лозинка",
        "κωδικός",
        "συνθηματικό",
        "密码",
        "密碼",
        "口令",
        "パスワード",
        "暗証番号",
        "비밀번호",
        "암호",
        "รหัสผ่าน",
        "סיסמה",
        "كلمة المرور",
        "كلمة_المرور",
        "पासवर्ड",
    )
)
# Words that begin or end with an accented letter.
ACCENTED: Final = ("contraseña", "lösenord", "hasło", "şifre", "jelszó", "slaptažodis")
# Names whose value is secret in a form or a JSON object, but often not in a sentence.
VAGUE: Final = frozenset({"key", "keys", "code", "pan", "tan", "salt", "parole", "clave"})

# Letters that Unicode does not decompose.
UNDECOMPOSED: Final = str.maketrans("\u0142\u0141\u0131\xf8\u0111", "lLiod")
PART: Final = re.compile(r"2fa|p12|pkcs\d+|i18n|[A-Z]{2,}(?![a-z])|[A-Z]?[a-z]+|[A-Z]+")


class SecretNames:
    """The names whose values are secrets: the built-in ones and ``extra_names``.

    An extra name matches a field's name that contains its parts side by side and in its order:
    ``member_no`` matches ``memberNo``, ``member-no`` and ``old_member_no``.
    """

    def __init__(self, extra_names: Iterable[str] = ()) -> None:
        self._extra = tuple(parts for name in extra_names if (parts := parts_of(name)))
        self._cached = lru_cache(maxsize=2000)(self._decide)

    def hints(self) -> set[str]:
        """Return texts such that each secret name contains at least one of them.

        They are in lower case. Those that are not ASCII are also capitalised and in upper case.
        """
        found = {
            *WORDS,
            *INSIDE,
            *ENDINGS,
            *(max(pair.split("_"), key=len) for pair in PAIRS),
            "key",
            "code",
        }
        found |= {max(parts, key=len) for parts in self._extra}
        # Also with accents, as they appear in a text.
        for word in ACCENTED + OTHER_SCRIPTS:
            found |= {normalize("NFC", form) for form in (word, word.capitalize(), word.upper())}
        return found

    def match(self, name: str) -> bool:
        """Return whether the value of a field called ``name`` is a secret."""
        # Visitors choose these names, so long ones are not cached.
        decide = self._cached if len(name) <= REMEMBERED_LENGTH else self._decide
        return decide(name)

    def _decide(self, name: str) -> bool:
        parts = parts_of(name[:1000])
        if self._extra and any(_holds(parts, extra) for extra in self._extra):
            return True
        if not name.isascii():
            decomposed = normalize("NFKD", name).lower()
            if any(word in decomposed for word in OTHER_SCRIPTS):
                return True
        if not parts or parts[-1] in DESCRIBED:
            return False
        return _secret_parts(parts)


def parts_of(name: str) -> tuple[str, ...]:
    """Return the parts of a name, in lower case and without accents or numbers."""
    if "%" in name:
        name = unquote(name)
    if not name.isascii():
        decomposed = normalize("NFKD", name.translate(UNDECOMPOSED))
        name = "".join(character for character in decomposed if not combining(character))
    return tuple(part.lower() for part in PART.findall(name))


def _secret_parts(parts: tuple[str, ...]) -> bool:
    for part in parts:
        if part in WORDS or part.endswith(ENDINGS) or any(word in part for word in INSIDE):
            return True
    if any("_".join(pair) in PAIRS for pair in pairwise(parts)):
        return True
    others = parts[:-1]
    if parts[-1] in ("key", "keys"):
        return OPEN_KEYS.isdisjoint(others)
    return parts[-1] in ("code", "codes") and (not others or not CODES.isdisjoint(others))


def _holds(parts: tuple[str, ...], extra: tuple[str, ...]) -> bool:
    """Return whether a name contains the parts of an extra name, or consists of its letters."""
    starts = range(len(parts) - len(extra) + 1)
    return any(parts[start : start + len(extra)] == extra for start in starts) or "".join(
        extra
    ) == "".join(parts)
