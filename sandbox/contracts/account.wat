;; An account that one ed25519 key controls: the smallest contract that can pay.
;;
;; `account.wasm` beside this file is what it assembles to; a test holds the two together.
;; Values are 64 bits, their kind in the lowest eight; what is passed on here is never looked into.
;; Source: CAP-46 (host values and functions), CAP-46-11 (`__check_auth`), CAP-58 (`__constructor`).
(module
  (import "l" "_" (func $put_contract_data (param $key i64) (param $value i64) (param $storage i64) (result i64)))
  (import "l" "1" (func $get_contract_data (param $key i64) (param $storage i64) (result i64)))
  ;; Traps where the signature is not the key's.
  (import "c" "0" (func $verify_sig_ed25519 (param $key i64) (param $message i64) (param $signature i64) (result i64)))

  ;; Where the key is kept: under the 32-bit number 0, in the instance's own storage.
  (global $name i64 (i64.const 4))
  (global $instance i64 (i64.const 2))

  ;; __constructor(key: BytesN<32>)
  (func (export "__constructor") (param $key i64) (result i64)
    (call $put_contract_data (global.get $name) (local.get $key) (global.get $instance)))

  ;; __check_auth(signature_payload: BytesN<32>, signature: BytesN<64>, auth_contexts: Vec<Context>)
  (func (export "__check_auth") (param $payload i64) (param $signature i64) (param $contexts i64) (result i64)
    (call $verify_sig_ed25519
      (call $get_contract_data (global.get $name) (global.get $instance))
      (local.get $payload)
      (local.get $signature)))

  ;; The interface is that of protocol 22, the first with constructors.
  (@custom "contractenvmetav0" "\00\00\00\00\00\00\00\16\00\00\00\00"))
