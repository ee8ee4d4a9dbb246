#!/bin/sh
# Creates the app's roles once, when the database is created. The demo has two: one owns and migrates the
# tables, the other reads and writes rows. Your own app has one role, which owns its database.
set -eu

run_sql() {
  psql --set ON_ERROR_STOP=1 --quiet --username "$POSTGRES_USER" --dbname "$POSTGRES_DB"
}

# psql reads the passwords itself, so that they are in no argument list.
if [ -e /run/secrets/app_password ]; then
  run_sql <<'SQL'
\set password `cat /run/secrets/app_password`
\set database `echo "$POSTGRES_DB"`

CREATE ROLE app LOGIN PASSWORD :'password';
ALTER DATABASE :"database" OWNER TO app;
ALTER SCHEMA public OWNER TO app;
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
SQL
  exit
fi

run_sql <<'SQL'
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
