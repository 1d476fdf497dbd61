// Every page, in the order in which addresses are tried.

import caseFile from './case.js';
import customer from './customer.js';
import customers from './customers.js';
import home from './home.js';
import notices from './notices.js';
import partner from './partner.js';
import partners from './partners.js';
import problem from './problem.js';
import problems from './problems.js';
import queue from './queue.js';

export const PAGES = [home, queue, caseFile, customers, customer, problems, problem, partners, partner, notices];
