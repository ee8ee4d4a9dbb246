# The images of the stack: web with the demo's code or your app's (also used by migrate and watch), init, backup, acme,
# nginx with our configuration, PostgreSQL with our roles, and Prometheus with our rules. The build secrets `build_ca`
# and `build_pip` are those of compose.yaml.

ARG PYTHON_IMAGE=python:3.13-slim-trixie
ARG NGINX_IMAGE=nginx:1.30
ARG POSTGRES_IMAGE=postgres:17-trixie
ARG PROMETHEUS_IMAGE=prom/prometheus:v3.5.0


FROM ${PYTHON_IMAGE} AS venv

COPY --chmod=0755 docker/build/with-build-secrets /usr/local/bin/
RUN python3 -m venv --without-pip /opt/venv


# The wheel of flask_mayday, built from this checkout by a build backend with known hashes.
FROM venv AS wheel

COPY docker/your-app/packages.py requirements-dev.txt /tmp/
RUN --mount=type=secret,id=build_ca --mount=type=secret,id=build_pip \
    with-build-secrets python3 /tmp/packages.py tools /opt/venv /tmp/requirements-dev.txt hatchling
WORKDIR /srv/flask-mayday
COPY pyproject.toml ./
COPY flask_mayday flask_mayday
# The metadata includes these texts. They are empty here, so that a change in one does not replace containers.
RUN touch README.md LICENSE CHANGELOG.md \
    && PATH=/opt/venv/bin:$PATH pip --python /opt/venv/bin/python wheel --no-cache-dir --no-deps \
        --no-build-isolation --wheel-dir /wheels .


# --- The demo's packages and code -----------------------------------------------------------------

FROM venv AS packages

COPY requirements.txt /tmp/
RUN --mount=type=secret,id=build_ca --mount=type=secret,id=build_pip \
    with-build-secrets pip --python /opt/venv/bin/python install --no-cache-dir --no-deps \
        --require-hashes --requirement /tmp/requirements.txt
COPY --from=wheel /wheels /tmp/wheels
RUN pip --python /opt/venv/bin/python install --no-cache-dir --no-index --no-deps \
        /tmp/wheels/*.whl \
    && ln -s /opt/venv/lib/python3*/site-packages/flask_mayday /opt/venv/


FROM ${PYTHON_IMAGE} AS source

# The containers' users must be able to read the files, whatever their modes in the checkout.
COPY app /srv/microblog/app
COPY migrations /srv/microblog/migrations
RUN chmod -R u=rwX,go=rX /srv && python3 -m compileall -q /srv/microblog


# --- Your app's packages and code: APP_DIR ----------------------------------------------------------

FROM ${PYTHON_IMAGE} AS your-source

COPY docker/your-app/leave-out /tmp/
# The build context `application` in compose.yaml is APP_DIR.
# hadolint ignore=DL3022
COPY --from=application . /srv/app
RUN /tmp/leave-out /srv/app


FROM your-source AS your-requirements

COPY docker/your-app/requirements-only /tmp/
RUN /tmp/requirements-only /srv/app


FROM venv AS your-packages

COPY --from=your-requirements /srv/app /tmp/app
COPY docker/your-app/packages.py requirements.txt /tmp/
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=build_ca --mount=type=secret,id=build_pip \
    with-build-secrets python3 /tmp/packages.py app /opt/venv /tmp/app
COPY --from=wheel /wheels /tmp/wheels
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=build_ca --mount=type=secret,id=build_pip \
    pip --python /opt/venv/bin/python install --no-index --no-deps /tmp/wheels/*.whl \
    && with-build-secrets python3 /tmp/packages.py ours /opt/venv /tmp/app /tmp/requirements.txt \
        'flask-mayday[gunicorn,metrics]'
COPY docker/your-app/environment.py docker/your-app/debug_entry.py \
    docker/your-app/install-environment /tmp/
RUN /tmp/install-environment /opt/venv


# --- web ------------------------------------------------------------------------------------------

FROM ${PYTHON_IMAGE} AS trimmed

COPY docker/build/trim /tmp/
RUN /tmp/trim && rm /tmp/trim


# Copied into an empty image, because files removed in a layer still count in an image's size.
FROM scratch AS minimal

# hadolint ignore=DL3067
COPY --from=trimmed / /
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
CMD ["python3"]


FROM minimal AS runtime

RUN groupadd --gid 10001 microblog \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp \
        --shell /usr/sbin/nologin microblog \
    && install --directory --owner=10001 --group=10001 --mode=0750 \
        /var/log/microblog /var/spool/microblog
COPY --chmod=0755 docker/stack /opt/stack
ENV PATH=/opt/venv/bin:$PATH \
    MAYDAY_LOG_DIR=/var/log/microblog \
    MAYDAY_SPOOL_DIR=/var/spool/microblog
USER 10001:10001
EXPOSE 8000
ENTRYPOINT ["/opt/stack/entrypoint"]
CMD ["gunicorn", "--config", "python:flask_mayday.gunicorn", "--bind", "0.0.0.0:8000", \
     "flask_mayday.gunicorn.entry:application"]


# The version of the app, in the image's last layer and not in the environment: otherwise Compose would
# see a changed configuration for a new version of the same code.
FROM ${PYTHON_IMAGE} AS release

ARG RELEASE
RUN printf '%s\n' "$RELEASE" >/release


FROM runtime AS web

COPY --from=packages /opt/venv /opt/venv
COPY --from=source /srv/microblog /srv/microblog
WORKDIR /srv/microblog
ENV FLASK_APP=app:create_app
COPY --from=release /release /opt/stack/


FROM runtime AS your-web

COPY --from=your-packages /opt/venv /opt/venv
COPY --from=your-source /srv/app /srv/app
WORKDIR /srv/app
COPY --from=release /release /opt/stack/


# --- init -----------------------------------------------------------------------------------------

FROM minimal AS init

WORKDIR /opt/stack
COPY --chmod=0644 docker/init.py docker/certificates.py docker/mailhog_password.py docker/rotation.py \
    docker/volume_owner.py docker/verbs/domain.py ./
CMD ["python3", "init.py"]


# Whether your app has migrations: then web gets a database role that cannot change the schema.
FROM your-source AS your-facts

RUN mkdir /facts \
    && if [ -d /srv/app/migrations ] && grep -rqiE --include='*.txt' --include='pyproject.toml' \
        --include='setup.*' '^[^#]*flask[-_.]migrate' /srv/app; then touch /facts/has_migrations; fi


FROM init AS your-init

COPY --from=your-facts /facts /opt/stack/


# --- backup: make backup and make restore -----------------------------------------------------------

FROM packages AS backup-packages

COPY requirements-backup.txt /tmp/
RUN --mount=type=secret,id=build_ca --mount=type=secret,id=build_pip \
    with-build-secrets pip --python /opt/venv/bin/python install --no-cache-dir --no-deps \
        --require-hashes --requirement /tmp/requirements-backup.txt


FROM minimal AS backup

COPY --from=backup-packages /opt/venv /opt/venv
COPY docker/backup /opt/stack/backup
COPY docker/volume_owner.py /opt/stack/
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/stack PYTHONDONTWRITEBYTECODE=1 TMPDIR=/var/tmp
ENTRYPOINT ["python", "-m", "backup"]


# --- acme: obtains and renews the certificate -----------------------------------------------------

FROM venv AS acme-packages

COPY requirements-acme.txt /tmp/
RUN --mount=type=secret,id=build_ca --mount=type=secret,id=build_pip \
    with-build-secrets pip --python /opt/venv/bin/python install --no-cache-dir --no-deps \
        --require-hashes --requirement /tmp/requirements-acme.txt


FROM minimal AS acme

COPY --from=acme-packages /opt/venv /opt/venv
COPY --chmod=0644 docker/acme/renewal.py /opt/acme/
ENV PATH=/opt/venv/bin:$PATH
USER 101:101
CMD ["python", "/opt/acme/renewal.py"]


# --- nginx ----------------------------------------------------------------------------------------

FROM ${PYTHON_IMAGE} AS edge

# nginx's error pages have the same texts as the app's: both come from one table.
COPY nginx /srv/nginx
COPY flask_mayday/pages /srv/pages
COPY app/static /srv/static
RUN python3 /srv/nginx/generate.py /srv/pages /srv/nginx \
    && mkdir /srv/buffers /srv/edge-log \
    && chmod -R u=rwX,go=rX /srv \
    && chmod 0755 /srv/nginx/entrypoint.d/* /srv/nginx/mailguard/start


FROM your-packages AS your-static

ARG APP
ARG STATIC
COPY --from=your-source /srv/app /srv/app
COPY docker/your-app/static.py /tmp/
WORKDIR /srv/app
RUN mkdir /srv/static && if [ "$STATIC" = nginx ]; then /opt/venv/bin/python /tmp/static.py; fi


FROM ${NGINX_IMAGE} AS nginx-base

COPY docker/build/trim /tmp/
# A temporary folder that a swarm mounts belongs to root and takes the mode of the folder in the image.
RUN /tmp/trim && rm /tmp/trim && chmod 1777 /etc/nginx/conf.d
COPY --from=edge /srv/nginx/*.conf /etc/nginx/
COPY --from=edge /srv/nginx/listeners /etc/nginx/listeners
COPY --from=edge /srv/nginx/templates /etc/nginx/templates
COPY --from=edge /srv/nginx/entrypoint.d /docker-entrypoint.d
COPY --from=edge /srv/nginx/mailguard /opt/mailguard
# A new volume gets this folder's owner.
COPY --from=edge --chown=101:101 /srv/buffers /var/cache/buffers
COPY --from=edge /srv/nginx/pages /usr/share/microblog/pages
COPY --from=edge --chown=101:10001 /srv/edge-log /var/log/edge
USER 101:101
EXPOSE 8080


FROM nginx-base AS nginx

COPY --from=edge /srv/static /usr/share/microblog/static


FROM nginx-base AS your-nginx

COPY --from=your-static /srv/static /usr/share/microblog/static


# --- db -------------------------------------------------------------------------------------------

FROM ${POSTGRES_IMAGE} AS db

COPY docker/build/trim /tmp/
RUN /tmp/trim && rm /tmp/trim
COPY --chmod=0755 docker/postgres/check-version /usr/local/bin/
COPY --chmod=0755 docker/postgres /opt/stack
# See nginx-base: for the temporary folder of a swarm.
RUN chmod 3777 /run/postgresql
USER 999:999
# Setting an entrypoint unsets the image's command.
ENTRYPOINT ["check-version", "docker-entrypoint.sh"]
CMD ["postgres"]


# --- prometheus: compose.metrics.yaml --------------------------------------------------------------

FROM ${PROMETHEUS_IMAGE} AS prometheus

COPY --chmod=0644 deploy/prometheus/prometheus.yml deploy/prometheus/alerts.yml /etc/prometheus/
