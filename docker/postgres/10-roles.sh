#!/bin/sh
# Makes the two roles of the app, once, when the database is made: one owns the schema and
# migrates it, the other may only read and write rows.
set -eu

# psql reads the passwords itself, so that they stand in no argument list.
psql --set ON_ERROR_STOP=1 --quiet --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\set owner_password `cat /run/secrets/migrate_password`
\set web_password `cat /run/secrets/web_password`
\set database `echo "$POSTGRES_DB"`

CREATE ROLE microblog_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE microblog_web LOGIN PASSWORD :'web_password';

ALTER DATABASE :"database" OWNER TO microblog_owner;
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO microblog_web;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO microblog_web;

ALTER DEFAULT PRIVILEGES FOR ROLE microblog_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO microblog_web;
ALTER DEFAULT PRIVILEGES FOR ROLE microblog_owner IN SCHEMA public
    GRANT USAGE ON SEQUENCES TO microblog_web;
SQL
