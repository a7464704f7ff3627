// A session with the harperive client: prints what each call gave as one JSON object a line.
'use strict';

const { Client } = require('harperive');

const [url, username, password] = process.argv.slice(2);
const client = new Client({ harperHost: url, username, password, schema: 'farm' });
const records = [{ id: 1, name: 'Ivy', age: 3 }, { id: 2, name: 'Bo', age: 5 }];

async function show(name, call) {
  let outcome;
  try {
    const { statusCode, data } = await call;
    outcome = { statusCode, data };
  } catch (error) {
    outcome = { statusCode: error.statusCode, error: error.error };
  }
  console.log(JSON.stringify({ name, ...outcome }));
  return outcome.data;
}

async function main() {
  await show('createSchema', client.createSchema({ schema: 'farm' }));
  await show('createSchema again', client.createSchema({ schema: 'farm' }));
  await show('createTable', client.createTable({ table: 'goat', hashAttribute: 'id' }));
  await show('insert', client.insert({ table: 'goat', records }));
  await show('update', client.update({ table: 'goat', records: [{ id: 1, age: 4 }] }));
  await show('upsert', client.upsert({ table: 'goat', records: [{ id: 3, name: 'Livia' }] }));
  await show('searchByHash', client.searchByHash({ table: 'goat', hashValues: [1], attributes: ['name', 'age'] }));
  await show(
    'searchByValue',
    client.searchByValue({ table: 'goat', searchAttribute: 'name', searchValue: '*v*', attributes: ['id'] }),
  );
  await show('query', client.query('SELECT COUNT(*) AS n FROM farm.goat'));
  await show('delete', client.delete({ table: 'goat', hashValues: [2, 9] }));
  await show('describeTable', client.describeTable({ table: 'goat' }));
  await show('userInfo', client.userInfo());
  await show('csvDataLoad', client.csvDataLoad({ table: 'goat', action: 'insert', data: 'id,name\n7,Zoe\n' }));
  const tokens = await show('tokens', client.createAuthenticationTokens({ username, password }));
  const bearer = new Client({ harperHost: url, token: tokens.operation_token, schema: 'farm' });
  await show('bearer', bearer.describeAll());
  await show('dropTable', client.dropTable({ table: 'goat' }));
}

main();
