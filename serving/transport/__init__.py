"""What lies between the socket and a route: connections, limits, times, and how answers are sent."""
