"""The blog as the Flask Mega-Tutorial's last chapters leave it, to measure ours against.

Log in, timeline, user page, forms rendered field by field, SMTPHandler and RotatingFileHandler. It
leaves out what would only make it slower: translations, Flask-Moment, the search form, and the
queries for followers, messages and tasks.
"""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from hashlib import md5
from logging.handlers import RotatingFileHandler, SMTPHandler
from typing import Any

import sqlalchemy as sa
from flask import Flask, flash, redirect, render_template, request, url_for
from flask_login import (
    LoginManager,
    UserMixin,
    current_user,
    login_required,
    login_user,
)
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import FlaskForm
from werkzeug.security import check_password_hash, generate_password_hash
from wtforms import BooleanField, PasswordField, StringField, SubmitField, TextAreaField
from wtforms.validators import DataRequired, Length

POSTS_PER_PAGE = 25

app = Flask(__name__)
app.config.update(
    SECRET_KEY="0123456789abcdef0123456789abcdef01234567",
    SQLALCHEMY_DATABASE_URI=os.environ["DATABASE_URL"],
)
db = SQLAlchemy(app)
login = LoginManager(app)
login.login_view = "log_in"

followers = db.Table(
    "followers",
    sa.Column("follower_id", sa.ForeignKey("user.id"), primary_key=True),
    sa.Column("followed_id", sa.ForeignKey("user.id"), primary_key=True),
)


class User(UserMixin, db.Model):  # type: ignore[name-defined,misc]
    """A user who follows others."""

    id = sa.Column(sa.Integer, primary_key=True)
    username = sa.Column(sa.String(64), index=True, unique=True)
    email = sa.Column(sa.String(120), index=True, unique=True)
    password_hash = sa.Column(sa.String(256))
    about_me = sa.Column(sa.String(140))
    last_seen = sa.Column(sa.DateTime, default=lambda: datetime.now(UTC))
    followed = db.relationship(
        "User",
        secondary=followers,
        primaryjoin="followers.c.follower_id == User.id",
        secondaryjoin="followers.c.followed_id == User.id",
        backref="followers",
        lazy="write_only",
    )

    def avatar(self, size: int) -> str:
        """Return the address of the user's picture."""
        digest = md5(self.email.lower().encode(), usedforsecurity=False).hexdigest()
        return f"https://www.gravatar.com/avatar/{digest}?d=identicon&s={size}"

    def following_posts(self) -> Any:
        """Return the query for the posts of this user and of those they follow."""
        author, follower = sa.orm.aliased(User), sa.orm.aliased(User)
        return (
            sa.select(Post)
            .join(Post.author.of_type(author))
            .join(author.followers.of_type(follower), isouter=True)
            .where(sa.or_(follower.id == self.id, author.id == self.id))
            .group_by(Post)
            .order_by(Post.timestamp.desc())
        )


class Post(db.Model):  # type: ignore[name-defined,misc]
    """A post of a user."""

    id = sa.Column(sa.Integer, primary_key=True)
    body = sa.Column(sa.String(140))
    timestamp = sa.Column(sa.DateTime, index=True, default=lambda: datetime.now(UTC))
    user_id = sa.Column(sa.ForeignKey("user.id"), index=True)
    author = db.relationship("User", backref=db.backref("posts", lazy="write_only"))


class LoginForm(FlaskForm):  # type: ignore[misc]
    """The form of the login page."""

    username = StringField("Username", validators=[DataRequired()])
    password = PasswordField("Password", validators=[DataRequired()])
    remember_me = BooleanField("Remember Me")
    submit = SubmitField("Sign In")


class PostForm(FlaskForm):  # type: ignore[misc]
    """The form of a new post."""

    post = TextAreaField("Say something", validators=[DataRequired(), Length(min=1, max=140)])
    submit = SubmitField("Submit")


def set_up_logging() -> None:
    """Mail errors, and log to a rotating file, as the tutorial's create_app() does."""
    mail = SMTPHandler(
        mailhost=(os.environ["MAIL_SERVER"], int(os.environ["MAIL_PORT"])),
        fromaddr="no-reply@microblog.example",
        toaddrs=["admin@microblog.example"],
        subject="Microblog Failure",
    )
    mail.setLevel(logging.ERROR)
    app.logger.addHandler(mail)
    file = RotatingFileHandler("/tmp/microblog.log", maxBytes=10240, backupCount=10)
    file.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s: %(message)s [in %(pathname)s:%(lineno)d]")
    )
    file.setLevel(logging.INFO)
    app.logger.addHandler(file)
    app.logger.setLevel(logging.INFO)


set_up_logging()


@login.user_loader
def load_user(identifier: str) -> User | None:
    """Return the user of a session."""
    return db.session.get(User, int(identifier))


@app.before_request
def note_last_seen() -> None:
    """Write, at each request, when the user was last seen."""
    if current_user.is_authenticated:
        current_user.last_seen = datetime.now(UTC)
        db.session.commit()


def page_of(query: Any, endpoint: str, **values: Any) -> dict[str, Any]:
    """Return the posts of a page, and the addresses of the next and the previous one."""
    number = request.args.get("page", 1, type=int)
    posts = db.paginate(query, page=number, per_page=POSTS_PER_PAGE, error_out=False)
    following = url_for(endpoint, page=posts.next_num, **values) if posts.has_next else None
    previous = url_for(endpoint, page=posts.prev_num, **values) if posts.has_prev else None
    return {"posts": posts.items, "next_url": following, "prev_url": previous}


@app.route("/", methods=["GET", "POST"])
@login_required
def index() -> Any:
    """Show the timeline, and take a new post."""
    form = PostForm()
    if form.validate_on_submit():
        db.session.add(Post(body=form.post.data, author=current_user))
        db.session.commit()
        flash("Your post is now live!")
        return redirect(url_for("index"))
    page = page_of(current_user.following_posts(), "index")
    return render_template("index.html", title="Home", form=form, **page)


@app.route("/explore")
@login_required
def explore() -> Any:
    """Show everybody's posts."""
    page = page_of(sa.select(Post).order_by(Post.timestamp.desc()), "explore")
    return render_template("index.html", title="Explore", **page)


@app.route("/user/<username>")
@login_required
def user(username: str) -> Any:
    """Show a user with their posts."""
    found = db.first_or_404(sa.select(User).where(User.username == username))
    query = found.posts.select().order_by(Post.timestamp.desc())
    return render_template(
        "user.html", title=username, user=found, **page_of(query, "user", username=username)
    )


@app.route("/login", methods=["GET", "POST"])
def log_in() -> Any:
    """Log in."""
    form = LoginForm()
    if form.validate_on_submit():
        found = db.session.scalar(sa.select(User).where(User.username == form.username.data))
        if found is None or not check_password_hash(found.password_hash, form.password.data):
            flash("Invalid username or password")
            return redirect(url_for("log_in"))
        login_user(found, remember=form.remember_me.data)
        return redirect(url_for("index"))
    return render_template("login.html", title="Sign In", form=form)


@app.errorhandler(404)
def not_found(error: Exception) -> Any:
    """Show the tutorial's page for 404."""
    return render_template("404.html", title="Not found"), 404


@app.errorhandler(500)
def internal_error(error: Exception) -> Any:
    """Show the tutorial's page for 500."""
    db.session.rollback()
    return render_template("500.html", title="Error"), 500


@app.cli.command("seed")
def seed() -> None:
    """Make the tables, and the users and posts that are measured."""
    db.create_all()
    users = [
        User(username=f"user{number}", email=f"user{number}@microblog.example", about_me="Hello")
        for number in range(20)
    ]
    users[0].password_hash = generate_password_hash("bench password")
    db.session.add_all(users)
    db.session.commit()
    pairs = [{"follower_id": users[0].id, "followed_id": other.id} for other in users[1:11]]
    db.session.execute(followers.insert(), pairs)
    for number in range(2000):
        db.session.add(Post(body=f"Post number {number}", user_id=users[number % 20].id))
    db.session.commit()
