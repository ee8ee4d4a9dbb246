"""Secrets that a text shows: by the name they stand under, in every notation, and by their shape.

``NOT_COVERED`` is what docs/redaction.md says of the rest: a test that fails there is good news.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flask_mayday.redaction.redactor import MASK, Redactor

SECRET = "Zq7hunter2Xw9"

NOTATIONS = {
    "libpq": "host=db password=Zq7hunter2Xw9 dbname=x",
    "libpq quoted": "password='Zq7hunter2Xw9 Zq7hunter2Xw9' host=db",
    "libpq first": "password=Zq7hunter2Xw9 host=db",
    "odbc": "DRIVER={ODBC};Server=x;UID=sa;PWD=Zq7hunter2Xw9;Encrypt=yes",
    "odbc brace": "PWD={Zq7hunter2Xw9;x};Server=y",
    "ado": "Server=x;Password=Zq7hunter2Xw9;Database=y",
    "env": "DB_PASSWORD=Zq7hunter2Xw9",
    "env export": "export API_KEY=Zq7hunter2Xw9",
    "env quoted": 'SECRET_KEY="Zq7hunter2Xw9 x"',
    "env special": "DB_PASSWORD=a&b;Zq7hunter2Xw9'",
    "env lower": "db_password=Zq7hunter2Xw9",
    "yaml": "  password: Zq7hunter2Xw9\n  user: x",
    "yaml quoted": 'password: "Zq7hunter2Xw9"',
    "yaml list": "- token: Zq7hunter2Xw9\n",
    "yaml block": "private_key: |\n  Zq7hunter2Xw9\n  Zq7hunter2Xw9\nuser: x",
    "yaml comment": "password: Zq7hunter2Xw9  # prod",
    "yaml flow": "{password: Zq7hunter2Xw9, user: x}",
    "xml": "<password>Zq7hunter2Xw9</password>",
    "xml ns": '<ns:Password type="x">Zq7hunter2Xw9</ns:Password>',
    "xml attr": '<user password="Zq7hunter2Xw9"/>',
    "xml add": '<add key="ApiKey" value="Zq7hunter2Xw9" />',
    "xml property": '<property name="db.password">Zq7hunter2Xw9</property>',
    "xml cdata": "<secret><![CDATA[Zq7hunter2Xw9]]></secret>",
    "xml esc": "&lt;password&gt;Zq7hunter2Xw9&lt;/password&gt;",
    "plist": "<key>password</key><string>Zq7hunter2Xw9</string>",
    "html input": '<input type="password" name="pw" value="Zq7hunter2Xw9">',
    "sql eq": "UPDATE u SET password = 'Zq7hunter2Xw9' WHERE id=1",
    "sql identified": "CREATE USER x IDENTIFIED BY 'Zq7hunter2Xw9'",
    "sql identified2": "ALTER USER 'x'@'h' IDENTIFIED WITH some_plugin BY 'Zq7hunter2Xw9'",
    "sql role": "ALTER ROLE x WITH PASSWORD 'Zq7hunter2Xw9'",
    "sql role2": "CREATE ROLE x LOGIN ENCRYPTED PASSWORD 'Zq7hunter2Xw9'",
    "sql func": "SET PASSWORD FOR 'x'@'h' = PASSWORD('Zq7hunter2Xw9')",
    "sql insert": "INSERT INTO users (name, password) VALUES ('susan', 'Zq7hunter2Xw9')",
    "sql params": "[parameters: ('susan', 'Zq7hunter2Xw9')]",
    "sql dict params": "[parameters: {'name': 'susan', 'password_hash': 'Zq7hunter2Xw9'}]",
    "cli": "app --password Zq7hunter2Xw9 --x",
    "cli eq": "app --password=Zq7hunter2Xw9",
    "cli quoted": "app --token 'Zq7hunter2Xw9 Zq7hunter2Xw9'",
    "cli argv": "['app', '--password', 'Zq7hunter2Xw9']",
    "cli single": "java -password Zq7hunter2Xw9",
    "cli slash": "cmd /password:Zq7hunter2Xw9",
    "curl": "curl -u susan:Zq7hunter2Xw9 http://x",
    "mysql": "mysql -u root -pZq7hunter2Xw9 db",
    "sshpass": "sshpass -p Zq7hunter2Xw9 ssh x",
    "redis": "redis-cli -h x -a Zq7hunter2Xw9 ping",
    "pgpassword": "PGPASSWORD=Zq7hunter2Xw9 psql -h x",
    "js": "const password = 'Zq7hunter2Xw9';",
    "js obj": "{password: 'Zq7hunter2Xw9', user: 'x'}",
    "js setitem": "localStorage.setItem('token', 'Zq7hunter2Xw9')",
    "js header": "headers['X-Api-Key'] = 'Zq7hunter2Xw9'",
    "js template": "token = `Zq7hunter2Xw9`",
    "js dot": 'user.password="Zq7hunter2Xw9"',
    "php": "'password' => 'Zq7hunter2Xw9'",
    "ruby": ':password => "Zq7hunter2Xw9"',
    "ruby2": 'password: "Zq7hunter2Xw9"',
    "go": "{User:x Password:Zq7hunter2Xw9 Y:1}",
    "java map": "{password=Zq7hunter2Xw9, user=x}",
    "toml": 'password = "Zq7hunter2Xw9"',
    "ini": "password = Zq7hunter2Xw9",
    "ini colon": "password : Zq7hunter2Xw9",
    "properties": "db.password=Zq7hunter2Xw9",
    "py dict": "{'password': 'Zq7hunter2Xw9'}",
    "py kw": "f(password='Zq7hunter2Xw9')",
    "py bytes": "{b'password': b'Zq7hunter2Xw9'}",
    "SecretStr": "{'password': SecretStr('Zq7hunter2Xw9')}",
    "pairs": "[('password', 'Zq7hunter2Xw9')]",
    "json": '{"password":"Zq7hunter2Xw9"}',
    "json nested": '{"a":"{\\"password\\":\\"Zq7hunter2Xw9\\"}"}',
    "json nested2": '"{\\\\\\"password\\\\\\": \\\\\\"Zq7hunter2Xw9\\\\\\"}"',
    "json list": '{"tokens": ["Zq7hunter2Xw9"]}',
    "html json": "{&quot;password&quot;: &quot;Zq7hunter2Xw9&quot;}",
    "html json34": "{&#34;password&#34;: &#34;Zq7hunter2Xw9&#34;}",
    "html json39": "{&#39;password&#39;: &#39;Zq7hunter2Xw9&#39;}",
    "html form": "a=1&amp;password=Zq7hunter2Xw9&amp;b=2",
    "pct form": "a%3D1%26password%3DZq7hunter2Xw9%26b%3D2",
    "pct json": "%7B%22password%22%3A%22Zq7hunter2Xw9%22%7D",
    "pct json sp": "%7B%22password%22%3A%20%22Zq7hunter2Xw9%22%7D",
    "pct2": "password%253DZq7hunter2Xw9%2526x",
    "query": "/x?password=Zq7hunter2Xw9&a=b",
    "query frag": "/x#access_token=Zq7hunter2Xw9&a=b",
    "form": "password=Zq7hunter2Xw9&a=b",
    "cookie": "Cookie: a=Zq7hunter2Xw9; b=c",
    "set-cookie": "Set-Cookie: a=Zq7hunter2Xw9; Path=/",
    "auth": "Authorization: Bearer Zq7hunter2Xw9",
    "auth basic": "Authorization: Basic Zq7hunter2Xw9==",
    "auth raw": "Authorization: Zq7hunter2Xw9",
    "bearer": "sent Bearer Zq7hunter2Xw9",
    "xapikey": "X-Api-Key: Zq7hunter2Xw9",
    "curl -H": "curl -H 'Authorization: Token Zq7hunter2Xw9' x",
    "header lower": "x-auth-token: Zq7hunter2Xw9",
    "url": "postgresql://web:Zq7hunter2Xw9@db/x",
    "url slash": "postgresql://web:ab/Zq7hunter2Xw9@db/x",
    "url space": "postgresql://web:ab Zq7hunter2Xw9@db/x",
    "url at": "postgresql://web:ab@Zq7hunter2Xw9@db/x",
    "url user only": "https://Zq7hunter2Xw9@github.com/x",
    "url empty user": "redis://:Zq7hunter2Xw9@cache/0",
    "url token git": "https://x-access-token:Zq7hunter2Xw9@github.com",
    "url enc": "postgresql%3A%2F%2Fweb%3AZq7hunter2Xw9%40db",
    "dsn": "https://Zq7hunter2Xw9@o1.ingest.sentry.io/1",
    "url hash": "amqp://u:a#Zq7hunter2Xw9@h/v",
    "pg key": "DETAIL:  Key (email)=(Zq7hunter2Xw9) already exists.",
    "pg fail": "Failing row contains (1, Zq7hunter2Xw9).",
    "pg line": "LINE 1: SELECT 'Zq7hunter2Xw9'",
    "pg copy": 'COPY t, line 1, column a: "Zq7hunter2Xw9"',
    "pg param": "DETAIL:  parameters: $1 = 'x', $2 = 'Zq7hunter2Xw9'",
    "pg invalid": 'invalid input syntax for type integer: "Zq7hunter2Xw9"',
    "mysql dup": "Duplicate entry 'Zq7hunter2Xw9' for key 'x'",
    "mysql inc": "Incorrect integer value: 'Zq7hunter2Xw9' for column 'x'",
    "mysql trunc": "Truncated incorrect DOUBLE value: 'Zq7hunter2Xw9'",
    "pem": "-----BEGIN RSA PRIVATE KEY-----\nZq7hunter2Xw9\n-----END RSA PRIVATE KEY-----",
    "openssh": "-----BEGIN OPENSSH PRIVATE KEY-----\nZq7hunter2Xw9\n-----END OPENSSH",
    "pgp": "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nZq7hunter2Xw9\n-----END PGP",
    "putty": "PuTTY-User-Key-File-3: x\nLines: 1\nZq7hunter2Xw9\nPrivate-MAC: aZq7hunter2Xw9",
    "pem esc": "-----BEGIN PRIVATE KEY-----\\nZq7hunter2Xw9\\n-----END PRIVATE KEY-----",
    "bcrypt": "$2b$12$abcdefghijklmnopqrstuvZq7hunter2Xw9",
    "scrypt": "scrypt:32768:8:1$abcdef$Zq7hunter2Xw9Zq7hunter2Xw9Zq7hunter2Xw9",
    "argon": "$argon2id$v=19$m=1$abc$Zq7hunter2Xw9",
    "netrc": "machine x login susan password Zq7hunter2Xw9",
    "docker": '{"auths":{"x":{"auth":"Zq7hunter2Xw9"}}}',
    "aws ini": "aws_secret_access_key = Zq7hunter2Xw9",
    "azure conn": "AccountName=x;AccountKey=Zq7hunter2Xw9==;EndpointSuffix=core",
    "azure sb": "Endpoint=sb://x/;SharedAccessKeyName=Root;SharedAccessKey=Zq7hunter2Xw9=",
    "sas": "https://x.blob/?sv=1&sig=Zq7hunter2Xw9%3D",
    "jdbc": "jdbc:mysql://h/d?user=x&password=Zq7hunter2Xw9",
    "log kv": "login user=susan token=Zq7hunter2Xw9",
    "graphql": 'mutation { login(password: "Zq7hunter2Xw9") }',
    "multipart": 'Content-Disposition: form-data; name="password"\r\n\r\nZq7hunter2Xw9\r\n--',
    "repr obj": "User(id=1, password='Zq7hunter2Xw9')",
    "dataclass": "Config(token='Zq7hunter2Xw9')",
    "namedtuple": "Key(secret='Zq7hunter2Xw9', x=1)",
    "attr colon": "password:Zq7hunter2Xw9",
    "tab =": "password\t=\tZq7hunter2Xw9",
    ":=": 'password := "Zq7hunter2Xw9"',
    "==": "password == 'Zq7hunter2Xw9'",
    "mongo": "mongodb+srv://u:Zq7hunter2Xw9@c.mongodb.net",
    "pw unicode": "contraseña: Zq7hunter2Xw9",
    "ru": "пароль: Zq7hunter2Xw9",
    "zh": "密码=Zq7hunter2Xw9",
    "ja": '{"パスワード":"Zq7hunter2Xw9"}',
    "de": "Kennwort=Zq7hunter2Xw9",
    "cyr cap": "Пароль: Zq7hunter2Xw9",
}

LETTERS = "0123456789abcdefABCDEFghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQR"
# Put together here, so that no scanner takes this file for a leak.
TOKENS = {
    "AWS": "AKIA" + LETTERS[10:26].upper(),
    "AWS, temporary": "ASIA" + LETTERS[10:26].upper(),
    "GitHub": "ghp_" + LETTERS[:36],
    "GitHub, fine-grained": "github_pat_" + LETTERS[:22] + "_" + LETTERS[:59],
    "GitLab": "glpat-" + LETTERS[:20],
    "Stripe": "sk_live_" + LETTERS[:24],
    "Stripe, webhook": "whsec_" + LETTERS[:32],
    "Slack": "xoxb-123456789012-1234567890123-" + LETTERS[:24],
    "Slack, webhook": "https://hooks.slack.com/services/T00000000/B00000000/" + LETTERS[:24],
    "Google": "AIza" + LETTERS[:35],
    "Google, OAuth": "ya29." + LETTERS[:60],
    "Google, client secret": "GOCSPX-" + LETTERS[:28],
    "SendGrid": "SG." + LETTERS[:22] + "." + LETTERS[:43],
    "npm": "npm_" + LETTERS[:36],
    "PyPI": "pypi-" + LETTERS[:60],
    "RubyGems": "rubygems_" + "a1" * 24,
    "Azure, Entra": "abc8Q~" + LETTERS[:34],
    "JWT": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0." + LETTERS[:30],
    "Flask's session": "eyJfZnJlc2giOmZhbHNlfQ.aSNL1w." + LETTERS[:27],
    "Flask's session, compressed": ".eJwlzjkOwjAMAMC_eGaI7cR2.aSNL1w." + LETTERS[:27],
    "Mailgun": "key-" + LETTERS[:32],
    "DigitalOcean": "dop_v1_" + "a1" * 32,
    "Shopify": "shpat_" + "a1" * 16,
    "Hugging Face": "hf_" + LETTERS[:34],
    "OpenAI": "sk-proj-" + LETTERS[:48],
    "Anthropic": "sk-ant-api03-" + LETTERS[:60],
    "Vault": "hvs." + LETTERS[:24],
    "Telegram": "123456789:AA" + LETTERS[:33],
    "Discord, webhook": "https://discord.com/api/webhooks/123456789012345678/" + LETTERS[:60],
    "Databricks": "dapi" + "a1" * 16,
    "Docker Hub": "dckr_pat_" + LETTERS[:27],
    "Square": "sq0atp-" + LETTERS[:22],
    "New Relic": "NRAK-" + LETTERS[:27],
    "Sentry": "sntrys_" + LETTERS[:40],
    "Postman": "PMAK-" + "a1" * 12 + "-" + "a1" * 17,
    "Meta": "EAAC" + LETTERS[:60] * 2,
    "age": "AGE-SECRET-KEY-1" + LETTERS[:58].upper(),
    "Brevo": "xkeysib-" + "a1" * 32 + "-" + LETTERS[:16],
    "Linear": "lin_api_" + LETTERS[:40],
    "Grafana": "glsa_" + LETTERS[:32] + "_abcdef01",
    "Atlassian": "ATATT3xFfGF0" + LETTERS[:60],
    "Azure, API key": LETTERS[:52] + "JQQJ99" + LETTERS[:26],
    "Mailchimp": "a1" * 16 + "-us12",
    "Terraform": "a" * 14 + ".atlasv1." + LETTERS[:60],
}

NOT_COVERED = {
    "a sentence": f"the password is {SECRET}",
    "columns": f"password\t{SECRET}",
    "a .pgpass file": f"db:5432:web:web:{SECRET}",
    "YAML, several words": f"password: correct horse {SECRET}",
    "a token without a mark": f"got {SECRET} from the server",
    "base64 in base64": "WW05dUxXVnpkQzFrWVhSaA==",
}

HARMLESS = [
    "the basic interface of a class, bearer of news",
    "mapping basic dictionary keys to values",
    "GET https://blog.example:8443/user/susan?page=2#top",
    "http://db:5432 is down, mail admin@example.com",
    "code=404; status_code=500; exit code: 1",
    "see <code>flask run</code> and <key>name</key>",
    "TokenError: 'else' was not expected",
    "Unexpected token 'else' in JSON at position 3",
    "pip install pkg==1.2.3; python -m compass --passenger=2",
    "password_length=12 token_type=bearer author=susan",
    "sk-learn, disk-usage, task-12345678901234567890",
    "password=None, token=null, secret: missing",
    "{'password': '', 'token': None}",
    "SELECT id, password_hash FROM user WHERE username = %(name)s",
    "INSERT INTO user (name, password) VALUES (%s, %s)",
]


@pytest.fixture
def redact() -> Callable[[str], str]:
    return Redactor([]).bind(None).text


@pytest.mark.parametrize("notation", NOTATIONS)
def test_a_value_that_follows_a_secrets_name_is_masked(
    notation: str, redact: Callable[[str], str]
) -> None:
    redacted = redact(f"Something failed\n{NOTATIONS[notation]}\nand went on")
    assert MASK in redacted
    assert SECRET not in redacted
    assert redacted.startswith("Something failed\n")


@pytest.mark.parametrize("provider", TOKENS)
@pytest.mark.parametrize("place", ["{}", "got <{}> here", "'{}'", "at=1,{},b", "/path/{}"])
def test_a_token_of_a_provider_is_masked(
    provider: str, place: str, redact: Callable[[str], str]
) -> None:
    redacted = redact(place.format(TOKENS[provider]))
    assert MASK in redacted
    assert TOKENS[provider][-16:] not in redacted


@pytest.mark.parametrize("provider", ["Azure, API key", "Mailchimp"])
def test_a_token_whose_mark_stands_after_its_beginning_is_masked_from_the_beginning(
    provider: str, redact: Callable[[str], str]
) -> None:
    assert redact(f"the key {TOKENS[provider]} was refused") == f"the key {MASK} was refused"


@pytest.mark.parametrize("text", HARMLESS)
def test_a_text_without_a_secret_stays_as_it_is(text: str, redact: Callable[[str], str]) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("case", NOT_COVERED)
def test_texts_documented_as_not_covered_are_shown(case: str, redact: Callable[[str], str]) -> None:
    assert redact(NOT_COVERED[case]) == NOT_COVERED[case]
