"""Prints this container's address in the network `inner`, or nothing if it is not in it."""

import socket

NAME = "web.inner"  # the alias of all web containers in that network


def main() -> None:
    """Print the first address of the alias that is this container's own."""
    try:
        found = socket.getaddrinfo(NAME, None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return
    for *_, address in found:
        with socket.socket() as probe:
            try:
                probe.bind((address[0], 0))
            except OSError:
                continue
        print(address[0])
        return


if __name__ == "__main__":
    main()
