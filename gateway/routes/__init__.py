"""The API's routes, one module for each noun."""

from gateway.routes import case, cell, customer, notice, partner, problem, promise

ROUTES = (
    *case.ROUTES,
    *cell.ROUTES,
    *customer.ROUTES,
    *notice.ROUTES,
    *partner.ROUTES,
    *problem.ROUTES,
    *promise.ROUTES,
)
