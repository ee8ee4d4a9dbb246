-- The privileges on the database. Variables: database, owner, web. This runs as the superuser, so the search path leaves
-- out the app's schemas: a function of the app with the name of a system function would run with all rights.
SET search_path = pg_catalog;
SET client_min_messages = warning;

ALTER DATABASE :"database" OWNER TO :"owner";
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;
SELECT format('ALTER SCHEMA public OWNER TO %I', :'owner')
  FROM pg_namespace WHERE nspname = 'public' AND pg_get_userbyid(nspowner) <> :'owner' \gexec
SELECT 'REVOKE ALL ON SCHEMA public FROM PUBLIC'
  FROM pg_namespace WHERE nspname = 'public' \gexec

SELECT :'web' <> :'owner' AS is_restricted \gset
\if :is_restricted
GRANT CONNECT ON DATABASE :"database" TO :"web";
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" GRANT USAGE ON SCHEMAS TO :"web";
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"web";
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" GRANT SELECT, USAGE ON SEQUENCES TO :"web";

-- What is there already: after a restore, or from a version without these privileges.
SELECT format('GRANT USAGE ON SCHEMA %I TO %I', nspname, :'web')
  FROM pg_namespace WHERE pg_get_userbyid(nspowner) = :'owner' \gexec
SELECT format(CASE relkind WHEN 'S' THEN 'GRANT SELECT, USAGE ON SEQUENCE %s TO %I'
                           ELSE 'GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %I' END, oid::regclass, :'web')
  FROM pg_class
 WHERE pg_get_userbyid(relowner) = :'owner' AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
   AND relname <> 'alembic_version' \gexec
-- Only the migrations may record which of them have run.
SELECT format('REVOKE INSERT, UPDATE, DELETE ON %s FROM %I', oid::regclass, :'web')
  FROM pg_class WHERE pg_get_userbyid(relowner) = :'owner' AND relname = 'alembic_version' \gexec
\endif
