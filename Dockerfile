# The images of the stack: the app (web and migrate), init, nginx with our configuration, and
# PostgreSQL with our roles.

ARG PYTHON_IMAGE=python:3.13.7-slim-trixie
ARG NGINX_IMAGE=nginx:1.28.0
ARG POSTGRES_IMAGE=postgres:17.6-trixie


FROM ${PYTHON_IMAGE} AS packages

COPY requirements.txt /tmp/
RUN python3 -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --no-cache-dir --no-deps --require-hashes \
        --requirement /tmp/requirements.txt


FROM ${PYTHON_IMAGE} AS source

# Whatever modes the checkout has, the containers' users can read the files.
COPY app /srv/microblog/app
COPY flask_mayday /srv/microblog/flask_mayday
COPY migrations /srv/microblog/migrations
COPY docker/healthcheck.py docker/entrypoint /srv/microblog/docker/
RUN chmod -R u=rwX,go=rX /srv \
    && chmod 0755 /srv/microblog/docker/entrypoint \
    && python3 -m compileall -q /srv/microblog


FROM ${PYTHON_IMAGE} AS edge

# Apart from the app's code: a new version of that is no reason to replace nginx.
COPY nginx /srv/nginx
COPY app/static /srv/static
RUN chmod -R u=rwX,go=rX /srv


FROM ${PYTHON_IMAGE} AS web

RUN groupadd --gid 10001 microblog \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /srv/microblog \
        --shell /usr/sbin/nologin microblog \
    && install --directory --owner=10001 --group=10001 --mode=0750 \
        /var/log/microblog /var/spool/microblog
COPY --from=packages /opt/venv /opt/venv
COPY --from=source /srv/microblog /srv/microblog
WORKDIR /srv/microblog
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    FLASK_APP=app:create_app \
    LOG_DIR=/var/log/microblog \
    SPOOL_DIR=/var/spool/microblog
USER 10001:10001
EXPOSE 8000
ENTRYPOINT ["/srv/microblog/docker/entrypoint"]
CMD ["gunicorn", "--config", "python:flask_mayday.gunicorn", "--bind", "0.0.0.0:8000", "app:create_app()"]


FROM ${PYTHON_IMAGE} AS init

WORKDIR /srv/microblog
COPY --chmod=0644 docker/init.py docker/
CMD ["python3", "docker/init.py"]


FROM ${NGINX_IMAGE} AS nginx

COPY --from=edge /srv/nginx/nginx.conf /srv/nginx/headers.conf /etc/nginx/
COPY --from=edge /srv/nginx/templates /etc/nginx/templates
COPY --from=edge /srv/nginx/pages /usr/share/microblog/pages
COPY --from=edge /srv/static /usr/share/microblog/static
USER 101:101
EXPOSE 8080


FROM ${POSTGRES_IMAGE} AS db

COPY --chmod=0755 docker/postgres/10-roles.sh /docker-entrypoint-initdb.d/
USER 999:999
