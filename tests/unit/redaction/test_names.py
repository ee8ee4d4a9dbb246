"""Which names of fields are those of secrets."""

from __future__ import annotations

import pytest

from flask_mayday.redaction.names import SecretNames
from flask_mayday.redaction.redactor import MASK, Redactor


def words(text: str) -> list[str]:
    return text.split()


SECRET_NAMES = words("""
    password Password2 new_password passwordConfirmation passwd passphrase passcode pwd pw pass
    db_pass     user.password userPassword user-password DB_PASSWORD password_hash passWord
    PassPhrase
    contraseña contrase%C3%B1a senha mot_de_passe motDePasse mdp Passwort Kennwort
    wachtwoord
    lösenord     hasło heslo şifre salasana jelszó parola пароль Пароль 密码 密碼 パスワード
    비밀번호 סיסמה
    X-Api-Key apikey api_key APIKey apiKey access_key AccountKey SharedAccessKey private_key key
    AWS_ACCESS_KEY_ID aws_secret_access_key encryption_key license_key SECRET_KEY_BASE signing-key
    Cookie Set-Cookie Authorization Proxy-Authorization authorisation X-Auth auth auth_user
    csrf_token X-CSRFToken csrfmiddlewaretoken XSRF-TOKEN token accessToken refresh_token idToken
    authtoken tokens x-amz-security-token bearer jwt jwe jwk oauth_verifier_token remember_token
    sessionid PHPSESSID JSESSIONID ASP.NET_SessionId connect.sid sid session
    secret client_secret webhookSecret secrets credentials creds aws_credentials
    signature sig hmac
    otp totp mfa 2fa 2fa_code one_time_code verification_code recoveryCodes backup_code code pin
    pinCode tan puk cvv CVV2 cvc iban ssn card_number cardNumber credit-card accountNumber
    pem p12 pfx psk keystore_password dsn connection_string mnemonic seed_phrase salt
    security_answer code_verifier SAMLResponse
    client_assertion
""")

OTHER_NAMES = words("""
    username email page User-Agent Host Accept q author authors authority author_id coauthor
    passenger     compass bypass passage trespass tokenizer tokenize encode decode codec encoding
    code_point
    status_code error_code zip_code postal_code country_code language_code currency_code qrcode
    monkey keyboard hotkey keywords keystroke primary_key foreign_key public_key publishableKey
    cache_key sort_key secretary secretariat spinach opinion pineapple shipping pinned spin tank
    tango panel span company tandem significant signal design assign signup sidebar
    inside consider
    description cookiecutter sessional discussion obsession token_type token_count password_length
    password_policy csrf_enabled session_lifetime cookie_name X-Request-Id
""")


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_value_under_the_name_of_a_secret_is_masked(name: str) -> None:
    assert Redactor([]).bind(None).fields({name: "value"}) == {name: MASK}


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_a_value_under_another_name_is_kept(name: str) -> None:
    assert Redactor([]).bind(None).fields({name: "value"}) == {name: "value"}


@pytest.mark.parametrize(
    "name", ["member_no", "memberNo", "MEMBER-NO", "old_member_no", "memberno"]
)
def test_extra_names_are_masked_in_every_spelling(name: str) -> None:
    redactor = Redactor([], extra_names=["member_no"]).bind(None)
    assert redactor.fields({name: "value"}) == {name: MASK}
    assert redactor.text(f"{name}=abcdef") == f"{name}={MASK}"
    assert SecretNames().match(name) is False


@pytest.mark.parametrize("name", ["member", "no", "remember_nothing", "member_note"])
def test_a_part_of_an_extra_name_is_not_a_secret_name(name: str) -> None:
    assert Redactor([], ["member_no"]).bind(None).fields({name: "value"}) == {name: "value"}


def test_extra_names_without_letters_are_ignored() -> None:
    assert SecretNames(["", "123", "--"]).match("page") is False
